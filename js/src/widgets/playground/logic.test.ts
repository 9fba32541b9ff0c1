import { expect, test } from 'vitest';
import type { Curve, Kept, PlaygroundAnswer, Recipe, Response, Said, Standing, Tracked } from '../../lib/protocol';
import { byKind, fitting } from './add';
import { decimal, logitDifference, points, trackedRows } from './answer';
import { chosenLines } from './dose';
import { follow } from './follow';
import { asTree, compared } from './history';
import { readPlace, writePlace } from './places';
import { partingStep } from './speech';

const TOKENS = ['The', ' capital', ' of', ' France', ' is', ' France'];

test('places are written as slices that end before their second number', () => {
  expect(writePlace([3])).toBe('3');
  expect(writePlace([4, 2, 3, 7, 7])).toBe('2:5, 7');
  expect(writePlace([])).toBe('');
});

test.each<[string, number[] | null]>([
  ['all', [0, 1, 2, 3, 4, 5]],
  ['last', [5]],
  ['none', []],
  ['1', [1]],
  ['-2', [4]],
  ['1:3, 5', [1, 2, 5]],
  ['4:', [4, 5]],
  [':-4', [0, 1]],
  ['17', []],
  ['" capital"', [1]],
  ['" capital of"', [1, 2]],
  // which one is meant, or whether the pattern fits, is Python's to say
  ['" France"', null],
  ['" France"#2', null],
  ['/F.*/', null],
  ['France', null]
])('the place %s means %j', (place, positions) => {
  expect(readPlace(place, TOKENS)).toEqual(positions);
});

test('every set of positions is read back as it was written', () => {
  for (let bits = 1; bits < 64; bits += 1) {
    const positions = TOKENS.map((_, index) => index).filter(index => (bits >> index) & 1);
    expect(readPlace(writePlace(positions), TOKENS)).toEqual(positions);
  }
});

const say = (...texts: string[]): Said[] => texts.map(text => ({ text, probability: 0.5, top: [] }));

test('two texts part where they first differ', () => {
  expect(partingStep(say('a', 'b', 'c'), say('a', 'x', 'c'))).toBe(1);
  expect(partingStep(say('a', 'b'), say('a'))).toBeNull();
  expect(partingStep(say(), say('a'))).toBeNull();
});

const line = (text: string, changed: number[]): Response => ({
  text,
  base: 0.2,
  changed,
  control: changed.map(() => 0.1)
});
const CURVE: Curve = {
  ...{ act: 'a', parameter: 'scale', key: 'k', total: 3 },
  // as it comes: coarse first
  values: [0, 4, 2],
  series: [line('low', [0.001, 0.002, 0.001]), line('up', [0, 0.8, 0.2]), line('down', [0.9, 0.1, 0.5])],
  difference: [line('d', [1, 2, 3])]
};

test('a curve shows what is followed first, then what it moves most', () => {
  expect(chosenLines(CURVE, ['low'], 'probability').map(one => one.text)).toEqual(['low', 'down', 'up']);
  // what has to be guessed at nowhere is not drawn, unless it is followed
  expect(
    chosenLines({ ...CURVE, series: [line('low', [0.001])].map(one => ({ ...one, base: 0 })) }, [], 'probability')
  ).toEqual([]);
  expect(chosenLines(CURVE, [], 'difference').map(one => one.text)).toEqual(['d']);
});

const standing = (logit: number): Standing => ({ probability: 0.5, logit, rank: 1 });
const followed = (text: string, logit: number): Tracked => ({
  ...{ text, base: standing(logit), changed: standing(2 * logit), control: standing(0) }
});

test('without Python the answer is read off the stored curve', () => {
  const answer: PlaygroundAnswer = {
    ...{
      moment: 1,
      tokens: [],
      candidates: [],
      moved: [],
      warnings: ['of the stored value'],
      curves: [],
      kl: 1,
      kl_control: 1,
      milliseconds: 1
    },
    tracked: [followed('up', 3), followed('elsewhere', 1)]
  };
  const between = follow(answer, CURVE, 3);
  const up = between.candidates.find(one => one.text === 'up');
  expect(up?.changed).toBeCloseTo(0.5);
  expect(up?.base).toBe(0.2);
  expect(between.tracked[0]?.changed.probability).toBeCloseTo(0.5);
  expect(between.tracked[0]?.base).toEqual(standing(3));
  // what the curve does not hold is not known, and not made up
  expect([between.tracked[1]?.changed.probability, between.tracked[0]?.changed.logit, between.kl]).toEqual([
    NaN,
    NaN,
    NaN
  ]);
  expect(follow(answer, CURVE, 4).candidates.find(one => one.text === 'down')?.changed).toBe(0.1);
  expect(follow(answer, CURVE, 9).candidates.find(one => one.text === 'down')?.changed).toBe(0.1);
});

test('the logit difference is that of the first two', () => {
  expect(logitDifference([followed('a', 3), followed('b', 1), followed('c', 9)])).toEqual({
    base: 2,
    changed: 4,
    control: 0
  });
  expect(logitDifference([followed('a', 3)])).toBeNull();
});

test('what is followed stays in its order, also before Python has answered for it', () => {
  const answered = [followed(' b', 1), followed(' a', 2)];
  expect(trackedRows([' a', ' b'], answered).map(one => [one.text, one.base.logit])).toEqual([
    [' a', 2],
    [' b', 1]
  ]);
  expect(trackedRows([' a', ' new', ' b'], answered)[1]?.base).toEqual({ probability: NaN, logit: NaN, rank: 0 });
  expect(trackedRows([], answered)).toEqual(answered);
  // Python may spell a token otherwise
  expect(trackedRows(['b', 'a'], answered).map(one => one.text)).toEqual([' b', ' a']);
});

test('differences are in points of percent with their sign', () => {
  expect([0.123, -0.004, 0.00001, -0.77].map(points)).toEqual(['+12', '−0.4', '0', '−77']);
  expect([decimal(-1.234), decimal(NaN)]).toEqual(['−1.23', '–']);
});

const kept = (id: string, parent = '', candidates: Record<string, number> = {}): Kept => ({
  ...{ id, name: id, parent, when: '', summary: '', setting: null as never, tracked: [], said: '' },
  candidates: Object.entries(candidates).map(([text, changed]) => ({ text, base: 0.1, changed, control: 0 }))
});

test('kept runs are listed as a tree, and none is lost', () => {
  const runs = [
    kept('a'),
    kept('b', 'a'),
    kept('c', 'gone'),
    kept('d', 'a'),
    kept('e', 'b'),
    kept('x', 'y'),
    kept('y', 'x')
  ];
  const listed = asTree(runs).map(({ run, depth }) => `${'-'.repeat(depth)}${run.id}`);
  expect(listed).toEqual(['a', '-b', '--e', '-d', 'c', 'x', 'y']);
});

test('two runs are compared by all tokens of either', () => {
  const rows = compared(kept('a', '', { x: 0.1, y: 0.3 }), kept('b', '', { x: 0.6, z: 0.2 }));
  expect(rows.map(row => row.text)).toEqual(['x', 'y', 'z']);
  expect(rows[0]?.changed).toEqual([0.1, 0.6]);
  expect(rows[1]?.changed).toEqual([0.3, NaN]);
});

test('what can be added is found by all words, what was found comes first', () => {
  const recipe = (kind: string, name: string, found: number): Recipe => ({
    ...{ id: name, kind, name, statement: '', components: ['resid_post'], layers: [], found, parameters: [], texts: [] }
  });
  const all = [
    recipe('Ablate', 'Ablate', -1),
    recipe('Scale', 'Scale', -1),
    recipe('Steer', 'Along Italy', 12),
    recipe('Scale', 'Scale Italy', 12)
  ];
  expect(fitting(all, 'ITALY scale').map(one => one.name)).toEqual(['Scale Italy']);
  expect(fitting(all, ' resid ').length).toBe(4);
  expect(fitting(all, 'mean')).toEqual([]);
  expect(byKind(all).map(([kind, list]) => [kind, list.length])).toEqual([
    ['Steer', 1],
    ['Scale', 2],
    ['Ablate', 1]
  ]);
});
