import type { View } from 'vega';
import { describe, expect, it } from 'vitest';
import { toRows } from '../../lib/selection';
import { numbersOf } from './numbers';
import { inEntry, pickedBy } from './rows';

describe('an entry of a selection', () => {
  const between = (type: string) => ({ fields: [{ type, field: 'x' }], values: [[1, 3]] });
  it.each([
    ['R', [false, true, true, true]],
    ['R-RE', [false, true, true, false]],
    ['R-E', [false, false, true, false]],
    ['R-LE', [false, false, true, true]]
  ])('of type %s has its ends', (type, wanted) => {
    expect([0, 1, 2, 3].map(x => inEntry({ x }, between(type), undefined))).toEqual(wanted);
  });
  it('holds what lies between its ends, whichever is said first', () => {
    const downwards = { fields: [{ type: 'R-RE', field: 'x' }], values: [[3, 1]] };
    expect([0, 1, 2, 3].map(x => inEntry({ x }, downwards, undefined))).toEqual([false, true, true, false]);
  });
  it('holds values, lists of values, times and ids', () => {
    const equal = { fields: [{ type: 'E', field: 'x' }], values: [2] };
    const several = { fields: [{ type: 'E', field: 'x' }], values: [[2, 5]] };
    expect([equal, several].map(entry => [2, 5, 6].map(x => inEntry({ x }, entry, undefined)))).toEqual([
      [true, false, false],
      [true, true, false]
    ]);
    const day = new Date(2020, 1, 1);
    expect(inEntry({ x: day }, { fields: [{ type: 'E', field: 'x' }], values: [day.getTime()] }, undefined)).toBe(true);
    expect([inEntry({}, { _vgsid_: 4 }, 4), inEntry({}, { _vgsid_: 4 }, 5)]).toEqual([true, false]);
  });
});

it('gives the rows of all entries, each once', () => {
  const sets: Record<string, unknown[]> = {
    source: [0, 1, 2, 3].map(row => ({ row, x: row * 10 })),
    derived: [{ row: 3, x: 30 }, { other: 1 }],
    brush_store: [
      { fields: [{ type: 'R', field: 'x' }], values: [[5, 15]] },
      { fields: [{ type: 'E', field: 'x' }], values: [30] }
    ],
    pick_store: []
  };
  const view = { data: (name: string) => sets[name] } as unknown as View;
  expect(toRows(pickedBy(view, 'brush', ['source', 'derived'], 'row') ?? new Uint8Array())).toEqual([1, 3]);
  expect(pickedBy(view, 'pick', ['source'], 'row')).toBe(null);
});

describe('the numbers of a chart', () => {
  it('are its first inline data, wherever they stand', () => {
    const spec = {
      hconcat: [
        {
          layer: [
            {
              data: {
                values: [
                  { a: 1, b: '<i>' },
                  { a: null, c: true }
                ]
              }
            }
          ]
        }
      ]
    };
    expect(numbersOf(spec)).toEqual({
      columns: ['a', 'b', 'c'],
      rows: [
        ['1', '<i>', ''],
        ['', '', 'true']
      ]
    });
    expect(numbersOf({ datasets: { d: [{ x: 1 }] } })?.columns).toEqual(['x']);
    expect(numbersOf({ data: { url: 'https://example.org' } })).toBe(null);
  });
});
