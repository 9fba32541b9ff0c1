import type { AnyModel } from '@anywidget/types';
import { describe, expect, it } from 'vitest';
import type { Picked } from './protocol';
import { changeSelection, count, fromRows, has, NOTHING, pack, readSelection, toRows, unpack } from './selection';
import type { SelectionTraits } from './selection';

describe('bits of rows', () => {
  it('start at the lowest bit, as in Python', () => {
    expect([...fromRows([0, 3, 9])]).toEqual([0b1001, 0b10]);
    expect(fromRows([])).toEqual(NOTHING);
  });
  it('are packed and unpacked without a loss', () => {
    const mask = Uint8Array.from({ length: 1003 }, (_, row) => Number((row * row) % 7 === 2));
    const bits = pack(mask);
    expect(unpack(bits, mask.length)).toEqual(mask);
    expect(count(bits)).toBe(mask.reduce((a, b) => a + b));
    expect(toRows(bits)).toEqual([...mask.keys()].filter(row => mask[row] === 1));
    expect(fromRows(toRows(bits)).slice(0, bits.length)).toEqual(bits.slice(0, fromRows(toRows(bits)).length));
  });
  it('may end before the last row', () => {
    const bits = fromRows([1]);
    expect([has(bits, 1), has(bits, 0), has(bits, 900)]).toEqual([true, false, false]);
    expect([...unpack(bits, 10)].indexOf(1)).toBe(1);
    expect(unpack(bits, 1)).toEqual(new Uint8Array(1));
  });
  it('of nothing are no bytes', () => {
    expect(pack(new Uint8Array(40))).toBe(NOTHING);
  });
});

describe('a selection', () => {
  it('keeps the kinds that are not changed', () => {
    const bytes = new DataView(new Uint8Array([255, 4, 7]).buffer, 1, 1);
    const empty = new DataView(new ArrayBuffer(0));
    let selection: Picked = { rows: bytes, examples: empty, tokens: [2], layers: [], heads: [[3, 1]] };
    const model = {
      get: () => selection,
      set: (_: string, value: Picked) => (selection = value)
    } as unknown as AnyModel<SelectionTraits>;
    changeSelection(model, { tokens: [5] });
    const read = readSelection(model);
    expect(toRows(read.rows)).toEqual([2]);
    expect([read.tokens, read.heads]).toEqual([[5], [[3, 1]]]);
  });
});
