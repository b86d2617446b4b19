/** Collects items and hands them over once per frame; once a second while the tab is hidden and has no frames. */
export function oncePerFrame<T>(take: (items: T[]) => void): (items: readonly T[]) => void {
  let waiting: T[] = [];
  let scheduled = false;
  const flush = (): void => {
    const items = waiting;
    waiting = [];
    scheduled = false;
    take(items);
  };
  return (items) => {
    waiting.push(...items);
    if (scheduled) return;
    scheduled = true;
    if (document.hidden) setTimeout(flush, 1_000);
    else requestAnimationFrame(flush);
  };
}

/** Runs `action` at most once per `everyMs`, the last call never lost. */
export function throttled(action: () => void, everyMs: number): () => void {
  let last = Number.NEGATIVE_INFINITY;
  let waiting = false;
  return () => {
    if (waiting) return;
    const wait = Math.max(0, last + everyMs - Date.now());
    waiting = true;
    setTimeout(() => {
      waiting = false;
      last = Date.now();
      action();
    }, wait);
  };
}
