import { describe, expect, it } from 'vitest';
import type { Axis } from '../protocol';
import { NOTHING } from '../selection';
import { cellAt, everyName, scrollTo, seen, xOf, yOf, type Frame } from './frame';
import { fromHalves } from './halves';
import { Colours, inCell, luminance, roundUp, short, signed } from './heat';
import { nameOf, pooled } from './painter';
import { between, marksOf, nothingOf, picksOf } from './picks';

const FRAME: Frame = {
  ...{ nRows: 30, nColumns: 2000, cellWidth: 20, cellHeight: 15, gutter: 50, header: 40 },
  ...{ width: 850, height: 340, left: 1000, top: 45 }
};

describe('a window onto a grid', () => {
  it('says which cells are seen, and where they lie', () => {
    // 800 pixels of cells from 1000 on; 300 from 45 on
    expect(seen(FRAME)).toEqual({ r0: 3, r1: 22, c0: 50, c1: 89 });
    expect([xOf(FRAME, 50), yOf(FRAME, 3)]).toEqual([50, 40]);
    for (const [row, column] of [
      [3, 50],
      [10, 77],
      [22, 89]
    ] as const) {
      expect(cellAt(FRAME, xOf(FRAME, column) + 1, yOf(FRAME, row) + 1)).toEqual({ row, column });
    }
  });
  it('finds no cell in the names, and the nearest one for a hand that left it', () => {
    expect(cellAt(FRAME, 20, 100)).toBeNull();
    expect(cellAt(FRAME, 100, 10)).toBeNull();
    expect(cellAt({ ...FRAME, left: 0 }, -500, 5000, false)).toEqual({ row: 29, column: 0 });
    expect(cellAt({ ...FRAME, nRows: 0 }, 100, 100, false)).toBeNull();
  });
  it('scrolls no further than a cell needs', () => {
    expect(scrollTo(FRAME, { row: 5, column: 60 })).toEqual({ left: 1000, top: 45 });
    expect(scrollTo(FRAME, { row: 0, column: 1999 })).toEqual({ left: 2000 * 20 - 800, top: 0 });
    expect(scrollTo(FRAME, { row: 29, column: 0 })).toEqual({ left: 0, top: 30 * 15 - 300 });
  });
  it('leaves out names at round numbers', () => {
    expect([everyName(20, 13), everyName(3, 13), everyName(0.45, 44)]).toEqual([1, 5, 100]);
  });
});

describe('colours', () => {
  it('tell what is little from what is much by their lightness, in both themes', () => {
    for (const dark of [false, true]) {
      const colours = new Colours({ kind: 'sequential', low: 0, high: 1 }, dark);
      const lightness = Array.from({ length: 11 }, (_, i) => luminance(rgbOf(colours.css(i / 10))));
      const grows = lightness.slice(1).map((value, i) => value > (lightness[i] ?? 0));
      expect(new Set(grows)).toEqual(new Set([dark]));
    }
  });
  it('of a diverging scale are equal in lightness on both sides, and differ in hue', () => {
    for (const dark of [false, true]) {
      const colours = new Colours({ kind: 'diverging', low: -2, high: 2 }, dark);
      const [below, above] = [rgbOf(colours.css(-1.2)), rgbOf(colours.css(1.2))];
      expect(below[2]).toBeGreaterThan(below[0]);
      expect(above[0]).toBeGreaterThan(above[2]);
      expect(colours.share(0)).toBe(0.5);
    }
  });
  it('leave ink that can be read: 4.5 to 1 at each step', () => {
    for (const dark of [false, true]) {
      for (const kind of ['sequential', 'diverging'] as const) {
        const colours = new Colours({ kind, low: 0, high: 1 }, dark);
        for (let step = 0; step <= 100; step += 1) {
          const [ground, ink] = [colours.css(step / 100), colours.ink(step / 100)];
          const [a, b] = [luminance(rgbOf(ground)), ink === '#ffffff' ? 1 : 0];
          expect((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), `${kind} ${step} ${dark}`).toBeGreaterThan(4.5);
        }
      }
    }
  });
  it('go by the logarithm of a rank, where the likeliest stands out', () => {
    const colours = new Colours({ kind: 'log', low: 10_000, high: 1 }, false);
    expect([colours.share(10_000), colours.share(100), colours.share(1), colours.share(0)]).toEqual([0, 0.5, 1, 1]);
  });
  it('show nothing where there is no number', () => {
    expect(new Colours({ kind: 'sequential', low: 0, high: 1 }, false).pixel(NaN)).toBe(0);
  });
});

function rgbOf(css: string): [number, number, number] {
  return (css.match(/\d+/g) ?? []).map(Number) as [number, number, number];
}

describe('numbers', () => {
  it('have the digits that matter', () => {
    expect([short(0.12345), short(-2), short(12345), short(1e-7), short(NaN), short(0)]).toEqual([
      '0.123',
      '−2',
      '12345',
      '1.0e−7',
      '',
      '0'
    ]);
    expect([signed(0.5), signed(-0.5), signed(0)]).toEqual(['+0.5', '−0.5', '0']);
  });
  it('of one scale have the same digits', () => {
    const heat = { kind: 'diverging', low: -1, high: 1 } as const;
    expect([inCell(1, heat), inCell(0.308, heat), inCell(-0.2, heat), inCell(0.001, heat)]).toEqual([
      '+1.00',
      '+0.31',
      '−0.20',
      '0'
    ]);
    expect(inCell(11.66, { kind: 'sequential', low: 0, high: 20 })).toBe('11.7');
    expect(inCell(34512, { kind: 'log', low: 49152, high: 1 })).toBe('34512');
  });
  it('end a scale at 1, 2 or 5 times a power of ten', () => {
    expect([roundUp(0.183), roundUp(4), roundUp(6), roundUp(0), roundUp(NaN)]).toEqual([0.2, 5, 10, 1, 1]);
  });
  it('of 16 bits are what numpy wrote', () => {
    // np.array([0, 1, -2, .333, 6e-8, 65504, np.nan, np.inf], "<f2").tobytes().hex()
    const hex = '0000003c00c0543501' + '00ff7b007e007c';
    const bytes = Uint8Array.from(hex.match(/../g) ?? [], byte => parseInt(byte, 16));
    const [zero, one, two, third, tiny, most, none, inf] = fromHalves(bytes);
    expect([zero, one, two, most, none, inf]).toEqual([0, 1, -2, 65504, NaN, Infinity]);
    expect(third).toBeCloseTo(0.333, 3);
    expect(tiny).toBeCloseTo(6e-8, 9);
  });
});

describe('cells smaller than a pixel', () => {
  const values = Float32Array.from([0, 1, NaN, -3, 2, 0, 0.5, 0]);
  const all = { r0: 0, r1: 0, c0: 0, c1: 7 };
  it('are the largest, the smallest, or the furthest from nothing, as the scale has it', () => {
    const pool = (heat: Parameters<typeof pooled>[5]): number[] => [...pooled(values, 8, all, 2, 1, heat)];
    expect(pool({ kind: 'sequential', low: 0, high: 1 })).toEqual([1, 2]);
    expect(pool({ kind: 'diverging', low: -1, high: 1 })).toEqual([-3, 2]);
    expect(pool({ kind: 'log', low: 9, high: 1 })).toEqual([-3, 0]);
  });
  it('keep each row and column where it is', () => {
    const grid = Float32Array.from({ length: 12 }, (_, at) => at);
    const part = { r0: 1, r1: 2, c0: 1, c1: 2 };
    expect([...pooled(grid, 4, part, 2, 2, { kind: 'sequential', low: 0, high: 1 })]).toEqual([5, 6, 9, 10]);
  });
});

describe('names', () => {
  it('are short, and text', () => {
    expect(nameOf(' France')).toBe('·France');
    expect(nameOf('x'.repeat(10_000)).length).toBe(14);
    expect(nameOf('\u202eabc')).toBe('\\u202eabc');
  });
});

describe('picks', () => {
  const axis = (kind: Axis['kind'], places: number[], n = places.length): Axis => ({
    ...{ name: kind, kind, places, labels: Array.from({ length: n }, String) }
  });
  const nothing = { rows: NOTHING, examples: NOTHING, tokens: [], layers: [], heads: [] };
  // the row of what goes into the first layer is none
  const lens = { rows: axis('layers', [-1, 0, 1, 2]), columns: axis('tokens', [0, 1, 2, 3, 4]) };
  const heads = { rows: axis('layers', [3, 4]), columns: axis('heads', [0, 1, 2]) };
  const pattern = { rows: axis('tokens', [0, 1, 2]), columns: axis('tokens', [0, 1, 2]) };

  it('of cells are their layers and tokens', () => {
    expect(picksOf({ r0: 0, r1: 2, c0: 3, c1: 4 }, lens, nothing, false)).toEqual({ tokens: [3, 4], layers: [0, 1] });
    const before = { ...nothing, tokens: [0], layers: [2] };
    expect(picksOf({ r0: 1, r1: 1, c0: 3, c1: 3 }, lens, before, true)).toEqual({ tokens: [0, 3], layers: [0, 2] });
    expect(nothingOf(lens)).toEqual({ tokens: [], layers: [] });
  });
  it('of heads are pairs', () => {
    const picked = picksOf(between({ row: 1, column: 2 }, { row: 0, column: 1 }), heads, nothing, false);
    expect(picked).toEqual({
      heads: [
        [3, 1],
        [3, 2],
        [4, 1],
        [4, 2]
      ]
    });
    expect(
      marksOf(
        {
          ...nothing,
          heads: [
            [4, 1],
            [9, 9]
          ]
        },
        heads
      )
    ).toEqual([{ r0: 1, r1: 1, c0: 1, c1: 1 }]);
  });
  it('are marked as runs of rows and columns', () => {
    expect(marksOf({ ...nothing, tokens: [0, 1, 4], layers: [1] }, lens)).toEqual([
      { r0: 2, r1: 2, c0: 0, c1: 1 },
      { r0: 2, r1: 2, c0: 4, c1: 4 }
    ]);
    // of one kind alone whole rows are meant; of what is not here nothing
    expect(marksOf({ ...nothing, layers: [0, 77] }, lens)).toEqual([{ r0: 1, r1: 1, c0: 0, c1: 4 }]);
    expect(marksOf(nothing, lens)).toEqual([]);
  });
  it('of tokens are both a query and a key', () => {
    expect(marksOf({ ...nothing, tokens: [1] }, pattern)).toEqual([
      { r0: 1, r1: 1, c0: 0, c1: 2 },
      { r0: 0, r1: 2, c0: 1, c1: 1 }
    ]);
  });
});
