import { describe, expect, it } from 'vitest';
import type { Claim, Column, Feature, Shapes } from '../../lib/protocol';
import { count, fromRows, NOTHING, toRows } from '../../lib/selection';
import { binsOf, NONE, pickedIn, roundStep, rowsBetween } from './bins';
import { changeBits, inverted, sameBits } from './bits';
import { deathOf, isAbove, limits, livesOn, ranked, ticks } from './geometry';
import { sentence } from './persistence';
import { labelsAmong, refusal } from './pickbar';
import { Places } from './places';
import { StoredRows } from './rows';
import { shared } from './sharing';
import { widthsOf } from './table';
import { CHUNK, chunksOf, firstLine, HIGHEST, LINE, scrolledHeight, scrolledTo, seenLines } from './windows';
import { chance, cut, short, sureness, verdictOf } from './words';

function numbers(values: readonly number[], name = 'norm'): Column {
  const bytes = new DataView(Float32Array.from(values).buffer);
  return { name, kind: 'number', cyclic: false, levels: [], low: 0, high: 1, width: 4, values: bytes };
}

function labels(
  values: readonly string[],
  levels = [...new Set(values)].filter(text => text !== ''),
  name = 'word'
): Column {
  const codes = Uint8Array.from(values, text => (text === '' ? 255 : levels.indexOf(text)));
  return { name, kind: 'label', cyclic: false, levels, low: 0, high: 0, width: 1, values: new DataView(codes.buffer) };
}

describe('bins', () => {
  it('hold every row that has a value once, in bars of a round width', () => {
    const values = Array.from({ length: 500 }, (_, row) => Math.sin(row) * 7.3);
    const bins = binsOf(numbers([...values, NaN]));
    const { edges, of, counts } = bins;
    expect(counts.reduce((a, b) => a + b)).toBe(500);
    expect(bins.missing).toBe(1);
    expect(of[500]).toBe(NONE);
    expect(bins.note).toBe('1 row without a value');
    values.forEach((value, row) => {
      const bar = of[row]!;
      expect(Math.fround(value)).toBeGreaterThanOrEqual(edges![bar]! - 1e-6);
      expect(Math.fround(value)).toBeLessThanOrEqual(edges![bar + 1]! + 1e-6);
    });
    expect(edges![1]! - edges![0]!).toBeCloseTo(0.5);
  });
  it('are one for each of a few whole numbers', () => {
    const bins = binsOf(numbers([3, 5, 5, 4]));
    expect(bins.names).toEqual(['3', '4', '5']);
    expect([...bins.counts]).toEqual([1, 1, 2]);
  });
  it('of one value, or none, are drawn too', () => {
    expect([...binsOf(numbers([2.5, 2.5])).counts].reduce((a, b) => a + b)).toBe(2);
    expect([...binsOf(numbers([NaN])).counts]).toEqual([]);
  });
  it('are the labels in their order, and the commonest of too many', () => {
    expect(binsOf(labels(['b', 'a', 'b', ''])).names).toEqual(['b', 'a']);
    const many = Array.from({ length: 200 }, (_, row) => `w${row < 100 ? 7 : row}`);
    const bins = binsOf(labels(many));
    expect(bins.names[0]).toBe('w7');
    expect(bins.names.at(-1)).toBe('all others');
    expect(bins.counts.reduce((a, b) => a + b)).toBe(200);
    expect(bins.note).toContain('commonest of 101 labels');
  });
  it('say how many picked rows they hold, and which rows a brush covers', () => {
    const column = labels(['a', 'b', 'a', 'c', '', 'b', 'a', 'c', 'a', 'b']);
    const bins = binsOf(column);
    expect([...pickedIn(bins, fromRows([0, 1, 4, 9]))]).toEqual([1, 2, 0]);
    expect(toRows(rowsBetween(bins, 2, 1))).toEqual([1, 3, 5, 7, 9]);
    expect([...pickedIn(bins, rowsBetween(bins, 0, 2))]).toEqual([...bins.counts]);
  });
});

describe('bits', () => {
  it('are inverted within the rows that there are', () => {
    expect(toRows(inverted(fromRows([0, 9]), 11))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10]);
    expect(inverted(inverted(NOTHING, 16), 16)).toBe(NOTHING);
    expect(count(inverted(NOTHING, 16))).toBe(16);
  });
  it('change a few at a time, and are the same however long they are', () => {
    const bits = changeBits(fromRows([1, 2]), [2, 20], 'toggle', 21);
    expect(toRows(bits)).toEqual([1, 20]);
    expect(toRows(changeBits(bits, [1], 'remove', 21))).toEqual([20]);
    expect(sameBits(fromRows([3]), changeBits(NOTHING, [3], 'add', 400))).toBe(true);
    expect(sameBits(fromRows([3]), fromRows([3, 300]))).toBe(false);
  });
});

describe('what picked rows share', () => {
  const column = labels(['May', 'May', 'May', 'June', 'July', 'June']);
  it.each([
    [[0, 1], 'all are May'],
    [[0, 1, 2, 3], '75 % are May'],
    [[0, 3, 4], 'all are May, June or July'],
    [[], '']
  ])('rows %j: %s', (picked, words) => {
    expect(shared(column, fromRows(picked))).toBe(words);
  });
  it('is a mean for numbers', () => {
    expect(shared(numbers([1, 2, 3, NaN]), fromRows([1, 2, 3]))).toBe('mean 2.5, of all 2');
  });
  it('shows a wicked label as text', () => {
    expect(shared(labels(['a\u202eb', 'c']), fromRows([0]))).toBe('all are a\\u202eb');
  });
});

describe('the limits of noise', () => {
  const shapes = { threshold: 0.2, ratio: 1.5, end: 2 };
  it('run as nbinterp/charts/diagrams.py draws them', () => {
    // the line 0.2 above the diagonal meets the line of slope 1.5 at a birth of 0.4
    const drawn = limits(shapes);
    expect(drawn.map(([birth]) => +birth.toFixed(9))).toEqual([0, 0.4, 1.333333333]);
    expect(drawn.map(([, death]) => +death.toFixed(9))).toEqual([0.2, 0.6, 2]);
    expect(limits({ ...shapes, ratio: 1 })).toEqual([
      [0, 0.2],
      [1.8, 2]
    ]);
    expect(limits({ ...shapes, threshold: 3 })).toEqual([]);
    expect(limits({ ...shapes, threshold: null as unknown as number, ratio: NaN })).toEqual([]);
  });
  const feature = (birth: number, death: number, dimension = 1): Feature => ({
    id: `${birth}`,
    dimension,
    birth,
    death,
    rows: []
  });
  it('are both to be passed', () => {
    expect(isAbove(feature(0.1, 0.4), shapes)).toBe(true);
    expect(isAbove(feature(1.4, 1.9), shapes)).toBe(false);
    expect(isAbove(feature(0.01, 0.15), shapes)).toBe(false);
    expect(isAbove(feature(0.1, 1), { ...shapes, threshold: NaN })).toBe(false);
  });
  it('what never dies reaches the end', () => {
    expect(deathOf(feature(0, null as unknown as number, 0), 2)).toBe(2);
    expect([livesOn(feature(0, 2), 2), livesOn(feature(0, 1.9), 2)]).toEqual([true, false]);
  });
  it('the longest-lived comes first', () => {
    const order = ranked([feature(0.1, 0.2), feature(0.3, 1), feature(0, 2, 0)], 1, 2);
    expect(order.map(one => one.id)).toEqual(['0.3', '0.1']);
  });
  it('axes have round ticks', () => {
    expect(ticks(1.73)).toEqual([0, 0.5, 1, 1.5]);
    expect([roundStep(0.3), roundStep(0.2), roundStep(17)]).toEqual([0.5, 0.2, 20]);
  });
  it('the verdict has its p once', () => {
    const told = { ...shapes, site: 0, features: [], p: 0.004, note: '' };
    expect(sentence({ ...told, verdict: 'a loop' } satisfies Shapes)).toBe('a loop (p = .004)');
    expect(sentence({ ...told, verdict: 'a loop: p = 0.004 against 199' })).toBe('a loop: p = 0.004 against 199');
  });
});

describe('the window of a long table', () => {
  it.each([100, 5000, 1_000_000, 40_000_000])('shows the first and the last of %i lines', total => {
    const seen = 300;
    const height = scrolledHeight(total);
    expect(height).toBeLessThanOrEqual(HIGHEST);
    expect(seenLines(total, 0, seen).start).toBe(0);
    expect(seenLines(total, height - seen, seen).stop).toBe(total);
    const middle = Math.floor(total / 2);
    expect(firstLine(total, scrolledTo(total, middle, seen), seen)).toBeCloseTo(middle, 3);
    const { start, stop } = seenLines(total, height / 3, seen);
    expect(stop - start).toBeLessThanOrEqual(Math.ceil(seen / LINE) + 3);
  });
  it('has columns as wide as their words, within reason', () => {
    const facts = [{ row: 0, cells: ['x', 'L'.repeat(9000)] }];
    expect(widthsOf(['a', 'long'], facts)).toEqual([68, 62, 230]);
    expect(widthsOf(['a much longer name'], [])[1]).toBe(160);
  });
  it('is asked for in chunks', () => {
    expect(chunksOf(0, CHUNK)).toEqual([0]);
    expect(chunksOf(CHUNK - 1, 2 * CHUNK + 1)).toEqual([0, 1, 2]);
  });
});

describe('words', () => {
  it('of numbers', () => {
    expect([0, 12345, -0.03125, 1234567, 2e-7, NaN].map(short)).toEqual([
      '0',
      '12,345',
      '−0.0313',
      '1.2e6',
      '2.0e−7',
      '–'
    ]);
    expect(cut('abcdef', 4)).toBe('abc…');
    expect(cut('🙂🙂🙂', 3)).toBe('🙂🙂🙂');
  });
  it('of chances', () => {
    expect([0.0004, 0.004, 0.04, 1].map(chance)).toEqual(['p < .001', 'p = .004', 'p = .04', 'p = 1']);
    expect([NaN, null, 'nan'].map(chance)).toEqual(['', '', '']);
  });
  const claim: Claim = {
    ...{ id: 'a', kind: 'direction', name: 'x', site: 's', n_rows: 3, statement: '', caveat: '', effect: 1 },
    ...{ p: 0.01, p_corrected: 0.04 }
  };
  it('of claims count all looks', () => {
    expect(verdictOf(claim).kind).toBe('sure');
    expect(verdictOf({ ...claim, p_corrected: 0.06 }).kind).toBe('unsure');
    expect(verdictOf({ ...claim, p_corrected: null as unknown as number }).kind).toBe('untested');
    expect(sureness(claim, 4)).toBe('p = .01, corrected for 4 looks p = .04');
    expect(sureness(claim, 1)).toBe('p = .01');
    expect(sureness({ ...claim, p: NaN }, 4)).toBe('');
  });
  it('of what cannot be made', () => {
    expect(refusal('direction', 0, 9, 0)).toContain('pick rows first');
    expect(refusal('direction', 9, 9, 0)).toContain('not picked');
    expect(refusal('plane', 2, 9, 0)).toBe('a plane needs 3 picked rows or more');
    expect(refusal('circle', 5, 9, 2)).toContain('3 labels');
    expect(refusal('circle', 5, 9, 3)).toBe('');
    expect(labelsAmong(labels(['a', 'b', 'a', '']), fromRows([0, 2, 3]))).toBe(1);
  });
});

describe('places', () => {
  const xy = Float32Array.from([0, 0, 1, 1, 10, 10, 11, 11]);
  const bytes = new Uint8Array(xy.byteLength + 1);
  bytes.set(new Uint8Array(xy.buffer), 1);
  const positions = { layout: 'pca', sites: [0, 2], x: '', y: '', note: '', xy: new DataView(bytes.buffer, 1) };
  it('are read from anywhere in a buffer, and are those of the nearest site that is known', () => {
    const places = new Places(positions, 2);
    expect([...places.of(2)!]).toEqual([10, 10, 11, 11]);
    expect(places.of(1)).toBeNull();
    expect(places.between(0.4)!.share).toBe(0);
    expect([...places.between(1.6)!.from]).toEqual([10, 10, 11, 11]);
    const all = new Places({ ...positions, sites: [0, 1] }, 2).between(0.25)!;
    expect([all.from[0], all.to[0], all.share]).toEqual([0, 10, 0.25]);
  });
});

describe('rows without Python', () => {
  const columns = [labels(['b', 'a', 'c', 'a', '']), numbers([3, NaN, 1, 2, 0])];
  const stored = new StoredRows(
    5,
    () => columns,
    () => fromRows([0, 3, 4])
  );
  const query = { sort: '', descending: false, picked_only: false, search: '', start: 0, stop: 10 };
  const order = async (change: Partial<typeof query>): Promise<number[]> =>
    (await stored.table({ ...query, ...change })).facts.map(facts => facts.row);
  it('are sorted, what is missing last', async () => {
    expect(await order({ sort: 'norm' })).toEqual([4, 2, 3, 0, 1]);
    expect(await order({ sort: 'norm', descending: true })).toEqual([0, 3, 2, 4, 1]);
    expect((await order({ sort: 'word' })).at(-1)).toBe(4);
  });
  it('are searched, filtered and cut', async () => {
    expect(await order({ search: 'A' })).toEqual([1, 3]);
    expect(await order({ picked_only: true, start: 1 })).toEqual([3, 4]);
    expect(toRows(await stored.search('c'))).toEqual([2]);
    expect((await stored.facts([0])).facts[0]?.cells).toEqual(['b', '3']);
  });
});
