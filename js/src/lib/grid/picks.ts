/** What of a shared selection lies in a grid, and what the grid's cells are in it. */

import type { Axis } from '../protocol';
import type { Selected } from '../selection';

/** Rows and columns from the first to the last, both included. */
export interface Rect {
  r0: number;
  r1: number;
  c0: number;
  c1: number;
}

export interface Axes {
  rows: Axis;
  columns: Axis;
}

export type Pairs = readonly (readonly [layer: number, head: number])[];
export type Picks = Pick<Selected, 'tokens' | 'layers' | 'heads'>;

/** More rectangles than these are not outlined one by one: no eye tells them apart. */
const MOST = 3000;

export function lengthOf(axis: Axis): number {
  return axis.labels.length;
}

/** Layer and head of a place on an axis of pairs. */
function pairAt(axis: Axis, at: number): readonly [number, number] {
  return [axis.places[2 * at] ?? -1, axis.places[2 * at + 1] ?? -1];
}

function headOf({ rows, columns }: Axes, row: number, column: number): readonly [number, number] | null {
  if (rows.kind === 'layers' && columns.kind === 'heads') {
    return [rows.places[row] ?? -1, columns.places[column] ?? -1];
  }
  return rows.kind === 'pairs' ? pairAt(rows, row) : columns.kind === 'pairs' ? pairAt(columns, column) : null;
}

/** The kinds of selection that a cell of these axes is: what is let go with it. */
export function kindsOf(axes: Axes): (keyof Picks)[] {
  const kinds = [axes.rows.kind, axes.columns.kind];
  const heads = kinds.includes('pairs') || kinds.includes('heads');
  return [
    ...(kinds.includes('tokens') ? (['tokens'] as const) : []),
    ...(heads ? (['heads'] as const) : kinds.includes('layers') ? (['layers'] as const) : [])
  ];
}

/** What is picked when these cells are; with `add` beside what is picked already. */
export function picksOf(rect: Rect, axes: Axes, before: Picks, add: boolean): Partial<Picks> {
  const tokens = new Set(add ? before.tokens : []);
  const layers = new Set(add ? before.layers : []);
  const heads = new Map((add ? before.heads : []).map(pair => [pair.join(), pair]));
  const sides = [
    { axis: axes.rows, from: rect.r0, to: rect.r1 },
    { axis: axes.columns, from: rect.c0, to: rect.c1 }
  ];
  for (const { axis, from, to } of sides) {
    const into = axis.kind === 'tokens' ? tokens : axis.kind === 'layers' ? layers : null;
    for (let at = from; into !== null && at <= to; at += 1) {
      const place = axis.places[at] ?? -1;
      if (place >= 0) {
        into.add(place);
      }
    }
  }
  const kinds = kindsOf(axes);
  if (kinds.includes('heads')) {
    for (let row = rect.r0; row <= rect.r1; row += 1) {
      for (let column = rect.c0; column <= rect.c1; column += 1) {
        const pair = headOf(axes, row, column);
        if (pair !== null && pair[0] >= 0 && pair[1] >= 0) {
          heads.set(pair.join(), pair);
        }
      }
    }
  }
  const found: Picks = { tokens: sorted(tokens), layers: sorted(layers), heads: [...heads.values()] };
  return Object.fromEntries(kinds.map(kind => [kind, found[kind]]));
}

/** The selection without the kinds that these axes pick. */
export function nothingOf(axes: Axes): Partial<Picks> {
  return Object.fromEntries(kindsOf(axes).map(kind => [kind, []]));
}

/**
 * Where a selection lies in a grid, as rectangles to outline: cells where it says something of rows and of columns,
 * whole rows or columns where it says something of one of them alone.
 */
export function marksOf(picks: Picks, axes: Axes): Rect[] {
  const rows = runs(axes.rows, picks);
  const columns = runs(axes.columns, picks);
  const [nRows, nColumns] = [lengthOf(axes.rows), lengthOf(axes.columns)];
  if (axes.rows.kind === 'layers' && axes.columns.kind === 'heads') {
    const at = (axis: Axis): Map<number, number> => new Map(axis.places.map((place, index) => [place, index]));
    const [rowAt, columnAt] = [at(axes.rows), at(axes.columns)];
    const cells = picks.heads.flatMap(([layer, head]): Rect[] => {
      const [row, column] = [rowAt.get(layer), columnAt.get(head)];
      return row === undefined || column === undefined ? [] : [{ r0: row, r1: row, c0: column, c1: column }];
    });
    // layers that were picked elsewhere are rows here
    const bands = cells.length > 0 ? [] : rows.map(([r0, r1]): Rect => ({ r0, r1, c0: 0, c1: nColumns - 1 }));
    return [...cells, ...bands].slice(0, MOST);
  }
  // of two axes of tokens each is marked by itself: a query and a key
  const both = axes.rows.kind === axes.columns.kind ? false : rows.length > 0 && columns.length > 0;
  if (both) {
    return rows.flatMap(([r0, r1]) => columns.map(([c0, c1]): Rect => ({ r0, r1, c0, c1 }))).slice(0, MOST);
  }
  const across = rows.map(([r0, r1]): Rect => ({ r0, r1, c0: 0, c1: nColumns - 1 }));
  const down = columns.map(([c0, c1]): Rect => ({ r0: 0, r1: nRows - 1, c0, c1 }));
  return [...across, ...down].slice(0, MOST);
}

/** First and last of each run of neighbours that are picked. */
function runs(axis: Axis, picks: Picks): [number, number][] {
  const pairs = new Set(picks.heads.map(pair => pair.join()));
  const chosen = new Set(axis.kind === 'tokens' ? picks.tokens : axis.kind === 'layers' ? picks.layers : []);
  const is = (at: number): boolean =>
    axis.kind === 'pairs' ? pairs.has(pairAt(axis, at).join()) : chosen.has(axis.places[at] ?? -1);
  const found: [number, number][] = [];
  for (let at = 0; at < lengthOf(axis); at += 1) {
    const last = found.at(-1);
    if (is(at)) {
      if (last?.[1] === at - 1) {
        last[1] = at;
      } else {
        found.push([at, at]);
      }
    }
  }
  return found;
}

function sorted(numbers: ReadonlySet<number>): number[] {
  return [...numbers].sort((a, b) => a - b);
}

export function isSame(a: Rect, b: Rect): boolean {
  return a.r0 === b.r0 && a.r1 === b.r1 && a.c0 === b.c0 && a.c1 === b.c1;
}

/** The rectangle between two cells. */
export function between(a: { row: number; column: number }, b: { row: number; column: number }): Rect {
  return {
    r0: Math.min(a.row, b.row),
    r1: Math.max(a.row, b.row),
    c0: Math.min(a.column, b.column),
    c1: Math.max(a.column, b.column)
  };
}
