import { expect, test } from 'vitest';
import { selectionNames, selectionValue } from './selections';

test('selections are found wherever the chart has them', () => {
  const brush = { name: 'brush', select: 'interval' };
  const slider = { name: 'cut', value: 1, bind: {} };
  const pick = { name: 'pick', select: { type: 'point' } };
  expect(selectionNames({ params: [slider], hconcat: [{ params: [brush] }, { layer: [{ params: [pick] }] }] })).toEqual(
    ['brush', 'pick']
  );
});

test.each([
  [{ x: [1, 2] }, { x: [1, 2] }],
  [{}, null],
  [null, null],
  [{ word: ['b'], vlPoint: { or: [{ word: 'b' }] } }, [{ word: 'b' }]],
  [{ vlPoint: { or: [] } }, null],
  [{ _vgsid_: new Set([3, 4]) }, [3, 4]]
])('%j means %j', (signal, value) => expect(selectionValue(signal)).toEqual(value));
