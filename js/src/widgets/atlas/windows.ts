/** Which lines of a long table can be seen, and which have to be asked for. */

export const LINE = 26;
/** Browsers do not draw an element higher than some ten million pixels. */
export const HIGHEST = 8_000_000;
export const CHUNK = 60;

/** The height of the element that is scrolled. */
export function scrolledHeight(total: number): number {
  return Math.min(total * LINE, HIGHEST);
}

/** The first line that is seen, as a fraction where it is cut. */
export function firstLine(total: number, scrolled: number, seen: number): number {
  const height = scrolledHeight(total);
  if (height === total * LINE) {
    return scrolled / LINE;
  }
  const share = Math.min(1, Math.max(0, scrolled / Math.max(1, height - seen)));
  return share * Math.max(0, total - seen / LINE);
}

/** Where to scroll so that a line is at the top: the inverse of `firstLine`. */
export function scrolledTo(total: number, line: number, seen: number): number {
  const height = scrolledHeight(total);
  if (height === total * LINE) {
    return line * LINE;
  }
  return (line / Math.max(1, total - seen / LINE)) * (height - seen);
}

/** The lines to draw: what is seen and one more at each end. */
export function seenLines(total: number, scrolled: number, seen: number): { start: number; stop: number } {
  const first = firstLine(total, scrolled, seen);
  return {
    start: Math.max(0, Math.floor(first) - 1),
    stop: Math.min(total, Math.ceil(first + seen / LINE) + 1)
  };
}

/** The numbers of the chunks that hold these lines. */
export function chunksOf(start: number, stop: number): number[] {
  const first = Math.floor(start / CHUNK);
  const last = Math.floor(Math.max(start, stop - 1) / CHUNK);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
