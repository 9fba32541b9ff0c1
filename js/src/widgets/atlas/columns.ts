/** The values of a column, read once, without an object a row. */

import { codesOf as readCodes, numbersOf as readNumbers } from '../../lib/colours';
import type { Column } from '../../lib/protocol';
import { spoken } from '../../lib/tokens';
import { short } from './words';

const numbers = new WeakMap<Column, Float32Array>();
const codes = new WeakMap<Column, ReturnType<typeof readCodes>>();

/** The numbers of a column, NaN where one is missing. */
export function numbersOf(column: Column): Float32Array {
  const known = numbers.get(column) ?? readNumbers(column);
  numbers.set(column, known);
  return known;
}

/** The labels of a column as places in its levels; anything beyond them is missing. */
export function codesOf(column: Column): ReturnType<typeof readCodes> {
  const known = codes.get(column) ?? readCodes(column);
  codes.set(column, known);
  return known;
}

export function named(columns: readonly Column[], name: string): Column | null {
  return columns.find(column => column.name === name) ?? null;
}

/** One value as people read it. */
export function textOf(column: Column, row: number): string {
  if (column.kind === 'number') {
    return short(numbersOf(column)[row] ?? NaN);
  }
  const level = column.levels[codesOf(column)[row] ?? -1];
  return level === undefined ? '–' : spoken(level);
}
