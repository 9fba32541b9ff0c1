/** Doing things less often than they are asked for. Everything here ends with an AbortSignal. */

/** Run `work` at most once a frame, the last time included. */
export function oncePerFrame(work: () => void, signal: AbortSignal): () => void {
  let frame = 0;
  signal.addEventListener('abort', () => {
    cancelAnimationFrame(frame);
  });
  return () => {
    if (frame === 0 && !signal.aborted) {
      frame = requestAnimationFrame(() => {
        frame = 0;
        work();
      });
    }
  };
}

/** Run `work` once nothing has been asked for during `wait` milliseconds. */
export function afterQuiet(work: () => void, wait: number, signal: AbortSignal): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
  });
  return () => {
    clearTimeout(timer);
    if (!signal.aborted) {
      timer = setTimeout(work, wait);
    }
  };
}

/** Report true once something has been so for `wait` milliseconds, false at once: a light that does not flicker. */
export function slowLight(show: (on: boolean) => void, wait: number, signal: AbortSignal): (on: boolean) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
  });
  return on => {
    if (!on) {
      clearTimeout(timer);
      timer = undefined;
      show(false);
    } else if (!signal.aborted) {
      timer ??= setTimeout(() => {
        show(true);
      }, wait);
    }
  };
}
