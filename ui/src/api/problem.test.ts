import { describe, expect, test } from "vitest";
import { problemFrom } from "./problem";

const response = (status: number) => new Response("", { status });

describe("an error answer", () => {
  test("of the server gives its code, its text and the id to quote", () => {
    const body = { title: "No such job", detail: "it was pruned", code: "job_not_found", status: 404 };
    const problem = problemFrom(response(404), body, "trace");
    expect(problem).toMatchObject({
      status: 404,
      code: "job_not_found",
      message: "No such job: it was pruned",
      id: "trace",
    });
  });

  test.each([undefined, null, "<h1>502</h1>", 7, [], { title: 7, code: {} }])(
    "with body %o still has status and code",
    (body) => {
      expect(problemFrom(response(502), body, null)).toMatchObject({
        status: 502,
        code: "http_502",
        message: "HTTP 502",
      });
    },
  );
});
