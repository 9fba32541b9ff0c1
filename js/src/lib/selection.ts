/** What is picked, as the widgets share it; the Python side is nbinterp/widgets/selection.py. Rows are packed bits. */

import type { AnyModel } from '@anywidget/types';
import type { Picked } from './protocol';

/** Bits of rows, the first row in the lowest bit of the first byte. It may end early: what follows is not picked. */
export type Bits = Uint8Array;

export interface Selected {
  rows: Bits;
  examples: Bits;
  tokens: readonly number[];
  layers: readonly number[];
  heads: readonly (readonly [layer: number, head: number])[];
}

export interface SelectionTraits {
  selection: Picked;
}

export const NOTHING: Bits = new Uint8Array(0);

export function has(bits: Bits, row: number): boolean {
  return (((bits[row >> 3] ?? 0) >> (row & 7)) & 1) === 1;
}

export function count(bits: Bits): number {
  let total = 0;
  for (let byte of bits) {
    for (; byte !== 0; byte &= byte - 1) {
      total += 1;
    }
  }
  return total;
}

/** Pack a mask with one byte a row, 0 where it is not picked. Nothing picked is no bytes. */
export function pack(mask: ArrayLike<number>): Bits {
  const bits = new Uint8Array((mask.length + 7) >> 3);
  let any = 0;
  for (let row = 0; row < mask.length; row += 1) {
    if (mask[row] !== 0) {
      bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
      any = 1;
    }
  }
  return any === 0 ? NOTHING : bits;
}

/** Unpack into one byte a row: 1 where it is picked. */
export function unpack(bits: Bits, n: number): Uint8Array {
  const mask = new Uint8Array(n);
  for (let row = 0; row < Math.min(n, bits.length * 8); row += 1) {
    mask[row] = ((bits[row >> 3] ?? 0) >> (row & 7)) & 1;
  }
  return mask;
}

export function fromRows(rows: Iterable<number>): Bits {
  const listed = [...rows];
  const bits = new Uint8Array(listed.length === 0 ? 0 : (listed.reduce((a, b) => Math.max(a, b)) >> 3) + 1);
  for (const row of listed) {
    bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
  }
  return bits;
}

export function toRows(bits: Bits): number[] {
  const rows: number[] = [];
  for (let row = 0; row < bits.length * 8; row += 1) {
    if (has(bits, row)) {
      rows.push(row);
    }
  }
  return rows;
}

/** Bytes as they came over the wire, or as this page has set them. */
export function bytesOf(value: DataView | ArrayBufferView | ArrayBuffer | undefined): Uint8Array {
  if (value === undefined) {
    return NOTHING;
  }
  return value instanceof ArrayBuffer
    ? new Uint8Array(value)
    : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

export function readSelection<T extends SelectionTraits>(model: AnyModel<T>): Selected {
  const picked: Picked = model.get('selection');
  return {
    rows: bytesOf(picked.rows),
    examples: bytesOf(picked.examples),
    tokens: picked.tokens,
    layers: picked.layers,
    heads: picked.heads as [number, number][]
  };
}

/** Bytes as every host sends them in binary: marimo knows DataViews only. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bits as Python writes them: it sends back what it would have written in another way. */
function ended(bits: Bits): Bits {
  let length = bits.length;
  while (length > 0 && bits[length - 1] === 0) {
    length -= 1;
  }
  // a view of the beginning would be sent whole
  return bits.slice(0, length);
}

/** Pick something else of some kinds; the others stay. Call `save_changes` after it. */
export function changeSelection<T extends SelectionTraits>(model: AnyModel<T>, change: Partial<Selected>): void {
  const { rows, examples, tokens, layers, heads } = { ...readSelection(model), ...change };
  const picked: Picked = {
    rows: viewOf(ended(rows)),
    examples: viewOf(ended(examples)),
    tokens: [...tokens],
    layers: [...layers],
    heads: heads.map(pair => [...pair])
  };
  (model as unknown as AnyModel<SelectionTraits>).set('selection', picked);
}
