/** Doing things less often than they are asked for. Everything here ends with an AbortSignal. */

type Work = () => void;

/** What is to be done before the next picture; while that is prepared, what has been done for it already. */
let due = new Set<Work>();
let done: Set<Work> | null = null;
let frame = 0;

function prepare(): void {
  frame = 0;
  done = new Set();
  const later = new Set<Work>();
  // one piece of work may ask for another, which still belongs to this picture; for itself, and it is the next one's
  for (const work of due) {
    if (done.has(work)) {
      later.add(work);
      continue;
    }
    due.delete(work);
    done.add(work);
    try {
      work();
    } catch (error) {
      reportError(error);
    }
  }
  done = null;
  due = later;
  wake();
}

function wake(): void {
  if (frame === 0 && done === null && due.size > 0) {
    frame = requestAnimationFrame(prepare);
  }
}

/** Run `work` before the next picture, at most once for each, the last time included. */
export function oncePerFrame(work: Work, signal: AbortSignal): Work {
  // a name of its own: the same function may be asked for by several
  const own = (): void => work();
  signal.addEventListener('abort', () => {
    due.delete(own);
    if (due.size === 0) {
      cancelAnimationFrame(frame);
      frame = 0;
    }
  });
  return () => {
    if (!signal.aborted) {
      due.add(own);
      wake();
    }
  };
}

/** Run `work` at once; asked for again before the next picture, once more then. */
export function promptly(work: Work, signal: AbortSignal): Work {
  let waiting = false;
  let again = false;
  const next = oncePerFrame(() => {
    waiting = false;
    if (again) {
      go();
    }
  }, signal);
  const go = (): void => {
    again = waiting;
    if (!waiting && !signal.aborted) {
      waiting = true;
      next();
      work();
    }
  };
  return go;
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
