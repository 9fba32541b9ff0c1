/** What a grid shows at one moment, read from the synced traits in one place. */

import type { AnyModel } from '@anywidget/types';
import { inCell, roundUp, short, type Heat } from '../../lib/grid/heat';
import type { OffersTraits } from '../../lib/offers';
import type { Cells, GridSpec, GridView, Quantity, Task } from '../../lib/protocol';
import { bytesOf, type SelectionTraits } from '../../lib/selection';
import { visible } from '../../lib/tokens';

/** The traits that Python and the page share; null cells of a changed run that nobody has computed. */
export interface GridTraits extends SelectionTraits, OffersTraits {
  spec: GridSpec;
  view: GridView;
  base: Cells[];
  changed: Cells[];
  task: Task | null;
  problem: string;
}

export type GridModel = AnyModel<GridTraits>;
export type Run = GridView['run'];

export const RUN_NAMES: Readonly<Record<Run, string>> = {
  base: 'base',
  changed: 'changed',
  difference: 'difference'
};

/** One quantity of one run, unpacked. */
export interface Unpacked {
  values: Float32Array;
  word: (at: number) => string;
}

/** A message is unpacked once: it may hold hundreds of thousands of numbers. */
const unpacked = new WeakMap<Cells, Unpacked>();

export function unpack(cells: Cells): Unpacked {
  let found = unpacked.get(cells);
  if (found === undefined) {
    // a message's buffers begin anywhere
    const values = new Float32Array(bytesOf(cells.values).slice().buffer);
    const codes = new Uint32Array(bytesOf(cells.codes).slice().buffer);
    const words = cells.words.map(word => visible(word.slice(0, 40)));
    found = { values, word: at => words[codes[at] ?? words.length] ?? '' };
    unpacked.set(cells, found);
  }
  return found;
}

const differences = new WeakMap<Float32Array, { base: Float32Array; values: Float32Array }>();

/** changed - base of each cell. */
export function differenceOf(base: Float32Array, changed: Float32Array): Float32Array {
  const known = differences.get(changed);
  if (known?.base === base) {
    return known.values;
  }
  const values = changed.map((value, at) => value - (base[at] ?? NaN));
  differences.set(changed, { base, values });
  return values;
}

/** What is drawn: the numbers of a quantity in a run, their scale, and what stands in each cell. */
export interface Shown {
  quantity: Quantity;
  run: Run;
  values: Float32Array;
  heat: Heat;
  text: (at: number) => string;
}

function cellsOf(all: readonly Cells[], quantity: string): Unpacked | null {
  const found = all.find(cells => cells.quantity === quantity);
  return found === undefined ? null : unpack(found);
}

/** The runs that a quantity has numbers of. */
export function runsOf(model: GridModel, quantity: string): Run[] {
  return cellsOf(model.get('changed'), quantity) === null ? ['base'] : ['base', 'changed', 'difference'];
}

export function shownOf(model: GridModel): Shown | null {
  const { quantities } = model.get('spec');
  const view = model.get('view');
  const quantity = quantities.find(one => one.id === view.quantity) ?? quantities[0];
  const base = quantity === undefined ? null : cellsOf(model.get('base'), quantity.id);
  if (quantity === undefined || base === null) {
    return null;
  }
  const changed = cellsOf(model.get('changed'), quantity.id);
  const run: Run = changed === null ? 'base' : view.run;
  const heat: Heat = { kind: quantity.scale, low: quantity.low, high: quantity.high };
  if (changed === null || run === 'base') {
    return { quantity, run, values: base.values, heat, text: textOf(quantity, heat, base) };
  }
  if (run === 'changed') {
    return { quantity, run, values: changed.values, heat, text: textOf(quantity, heat, changed) };
  }
  const values = differenceOf(base.values, changed.values);
  const span = roundUp(values.reduce((most, value) => (Math.abs(value) > most ? Math.abs(value) : most), 0));
  const difference: Heat = { kind: 'diverging', low: -span, high: span };
  const text = (at: number): string => {
    const moved = quantity.words && base.word(at) !== changed.word(at);
    return moved ? `→${changed.word(at)}` : inCell(values[at] ?? NaN, difference);
  };
  return { quantity, run, values, heat: difference, text };
}

function textOf(quantity: Quantity, heat: Heat, { values, word }: Unpacked): (at: number) => string {
  return quantity.words ? word : at => inCell(values[at] ?? NaN, heat);
}

/** All that is known of a cell, a line a quantity. */
export function factsOf(model: GridModel, at: number): string[] {
  return model.get('spec').quantities.flatMap((quantity): string[] => {
    const base = cellsOf(model.get('base'), quantity.id);
    const changed = cellsOf(model.get('changed'), quantity.id);
    const one = (cells: Unpacked | null): string => {
      const number = cells === null ? '' : short(cells.values[at] ?? NaN);
      const word = cells === null || !quantity.words ? '' : cells.word(at);
      return number === '' ? '' : word === '' ? number : `${word} ${number}`;
    };
    const [before, after] = [one(base), one(changed)];
    if (before === '' && after === '') {
      return [];
    }
    const unit = quantity.unit === '' ? '' : ` (${quantity.unit})`;
    return [`${quantity.name}${unit}: ${after === '' ? before : `${before} → ${after}`}`];
  });
}
