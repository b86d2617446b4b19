import type { Reporter, TestModule } from "vitest/node";

/** Ends every run with one plain line that a wrapper can count. */
export class CountReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    let passed = 0;
    let failed = 0;
    for (const module of modules) {
      // A file that does not load counts as one failure: it must never read as nothing to do.
      if (module.errors().length > 0) failed += 1;
      for (const test of module.children.allTests()) {
        // A skipped test is one that did not pass.
        if (test.result().state === "passed") passed += 1;
        else failed += 1;
      }
    }
    console.log(`${passed} passed, ${failed} failed`);
  }
}
