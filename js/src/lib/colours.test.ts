import { expect, test } from 'vitest';
import { codesOf, cyclicPalette, gradient, hasShapes, legendEntries, paint, palette } from './colours';
import type { Column } from './protocol';
import { LIGHT } from './theme';

function column(values: ArrayLike<number>, more: Partial<Column> = {}): Column {
  const bytes = Uint8Array.from(values);
  return {
    ...{ name: 'c', kind: 'label', cyclic: false, levels: ['a', 'b'], low: 0, high: 0, width: 1 },
    values: new DataView(bytes.buffer),
    ...more
  };
}

function numbers(values: readonly number[], more: Partial<Column> = {}): Column {
  return column([], {
    kind: 'number',
    levels: [],
    width: 4,
    values: new DataView(Float32Array.from(values).buffer),
    ...more
  });
}

const hex = (painted: Uint8Array, row: number): string =>
  `#${[...painted.subarray(4 * row, 4 * row + 3)].map(part => part.toString(16).padStart(2, '0')).join('')}`;

test('the cycle has the colours of the charts', () => {
  // what nbinterp.charts.theme.cyclic_palette(12) and cyclic_palette(9, turn=0.8) give
  expect(cyclicPalette(12)).toEqual([
    '#955067',
    '#756B3F',
    '#548826',
    '#749D2B',
    '#C5A354',
    '#FF9E8A',
    '#F6A9BF',
    '#93BCE7',
    '#00BBF8',
    '#00A4EC',
    '#367DC8',
    '#8F5697'
  ]);
  expect(palette(9, false)).toEqual([
    '#955067',
    '#726D3D',
    '#538C24',
    '#83A032',
    '#D9A262',
    '#FF9F9C',
    '#D9B1D1',
    '#27BFF2',
    '#00B1F5'
  ]);
  expect(palette(3, false)).toEqual(['#0072B2', '#E69F00', '#009E73']);
  expect(palette(3, true)).toEqual(cyclicPalette(3));
});

test('every row of a label has its colour and its shape, and the missing one neither', () => {
  const painted = paint(column([1, 0, 255]), 3, false);
  expect([0, 1, 2].map(row => hex(painted, row).toUpperCase())).toEqual([
    '#E69F00',
    '#0072B2',
    LIGHT.line.toUpperCase()
  ]);
  expect([painted[3], painted[7], painted[11]]).toEqual([1, 0, 0]);
});

test('more labels than shapes have none', () => {
  const many = column([8], { levels: Array.from({ length: 9 }, (_, index) => `${index}`) });
  expect(hasShapes(many)).toBe(false);
  expect(paint(many, 1, false)[3]).toBe(0);
  expect(new Set(legendEntries(many).map(entry => entry.shape))).toEqual(new Set(['circle']));
});

test('codes of two and four bytes are read wherever they begin', () => {
  const bytes = new Uint8Array([9, 1, 2, 3, 4]);
  const values = new DataView(bytes.buffer, 1);
  expect([...codesOf(column([], { width: 2, values }))]).toEqual([0x0201, 0x0403]);
  expect([...codesOf(column([], { width: 4, values }))]).toEqual([0x04030201]);
});

test('numbers go from the low to the high end, and those that are missing stand aside', () => {
  const painted = paint(numbers([0, 10, 5, NaN], { low: 0, high: 10 }), 4, false);
  const light = (row: number): number => painted.subarray(4 * row, 4 * row + 3).reduce((sum, part) => sum + part, 0);
  expect(light(0)).toBeLessThan(light(2));
  expect(light(2)).toBeLessThan(light(1));
  expect(hex(painted, 3).toUpperCase()).toBe(LIGHT.line.toUpperCase());
});

test('numbers that are all the same have a colour', () => {
  const painted = paint(numbers([3, 3], { low: 3, high: 3 }), 2, true);
  expect(hex(painted, 0)).not.toBe('#565c64');
});

test('a cycle of numbers ends in the colour that it begins with', () => {
  const turn = numbers([0, 2 * Math.PI, Math.PI], { low: 0, high: 2 * Math.PI, cyclic: true });
  const painted = paint(turn, 3, false);
  expect(hex(painted, 0)).toBe(hex(painted, 1));
  expect(hex(painted, 0)).not.toBe(hex(painted, 2));
  const stops = gradient(turn, false).match(/#\w+/g) ?? [];
  expect(stops[0]).toBe(stops.at(-1));
});
