/** Where the cells of a grid lie on the screen: a window that scrolls over them, with their names at two sides. */

import type { Rect } from './picks';

export interface Cell {
  row: number;
  column: number;
}

/** Lengths are CSS pixels; `left` and `top` say how far it is scrolled. */
export interface Frame {
  nRows: number;
  nColumns: number;
  cellWidth: number;
  cellHeight: number;
  gutter: number;
  header: number;
  width: number;
  height: number;
  left: number;
  top: number;
}

export function xOf(frame: Frame, column: number): number {
  return frame.gutter + column * frame.cellWidth - frame.left;
}

export function yOf(frame: Frame, row: number): number {
  return frame.header + row * frame.cellHeight - frame.top;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** The cell at a place; the nearest one where the place lies beside them, unless `strict`. */
export function cellAt(frame: Frame, x: number, y: number, strict = true): Cell | null {
  const column = Math.floor((x - frame.gutter + frame.left) / frame.cellWidth);
  const row = Math.floor((y - frame.header + frame.top) / frame.cellHeight);
  const outside =
    x < frame.gutter || y < frame.header || column < 0 || row < 0 || column >= frame.nColumns || row >= frame.nRows;
  if (frame.nRows === 0 || frame.nColumns === 0 || (strict && outside)) {
    return null;
  }
  return { row: clamp(row, 0, frame.nRows - 1), column: clamp(column, 0, frame.nColumns - 1) };
}

/** The cells that are seen, at least in part. */
export function seen(frame: Frame): Rect {
  const { nRows, nColumns, cellWidth, cellHeight, gutter, header, width, height, left, top } = frame;
  const first = (from: number, size: number, n: number): number =>
    clamp(Math.floor(from / size), 0, Math.max(0, n - 1));
  const last = (to: number, size: number, n: number): number => clamp(Math.ceil(to / size) - 1, 0, Math.max(0, n - 1));
  return {
    r0: first(top, cellHeight, nRows),
    r1: last(top + height - header, cellHeight, nRows),
    c0: first(left, cellWidth, nColumns),
    c1: last(left + width - gutter, cellWidth, nColumns)
  };
}

/** How far to scroll so that a cell is seen. */
export function scrollTo(frame: Frame, { row, column }: Cell): { left: number; top: number } {
  const into = (at: number, size: number, offset: number, room: number): number =>
    clamp(offset, (at + 1) * size - room, at * size);
  return {
    left: Math.max(0, into(column, frame.cellWidth, frame.left, frame.width - frame.gutter)),
    top: Math.max(0, into(row, frame.cellHeight, frame.top, frame.height - frame.header))
  };
}

/** Every how many rows or columns have room for a name that takes `room` pixels. */
export function everyName(size: number, room: number): number {
  const wanted = Math.max(1, room / Math.max(size, 1e-6));
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map(by => by * power).find(every => every >= wanted - 1e-9) ?? 10 * power;
}
