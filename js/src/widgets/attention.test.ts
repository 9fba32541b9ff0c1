import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AnyModel } from '@anywidget/types';
import { stillProps } from '../lib/still';
import attention from './attention';
import { largeOf, type AttentionTraits } from './attention/moment';

const WICKED = '<img src=x onerror="throw 1">';
const EMPTY = new DataView(new ArrayBuffer(0));
// 1, 0, 0.25, 0.75 as float16, NaN above the diagonal
const HALVES = new DataView(Uint16Array.from([0x3c00, 0x7e00, 0x3400, 0x3a00]).buffer);

let el: HTMLElement;
let life: AbortController;
let model: AnyModel<AttentionTraits>;
const frames = (): void => void vi.advanceTimersByTime(40);

beforeEach(() => {
  vi.useFakeTimers();
  const traits: AttentionTraits = {
    spec: {
      ...{ title: WICKED, note: '', tokens: ['The', WICKED], layers: [3, 5], n_heads: 2 },
      ...{ measures: ['attention'], scores: [{ name: 'induction', values: [0, 0.1, 0.2, 0.3] }] }
    },
    view: { layer: 5, head: 1, measure: 'attention', queries: [], keys: [] },
    // two pixels a side, one head after the other; the last byte of a head is how much the second token looks at itself
    small: {
      ...{ measure: 'attention', size: 2, low: 0, high: 1 },
      values: new DataView(Uint8Array.from([255, 0, 0, 255, 255, 0, 255, 0, 255, 0, 51, 204, 255, 0, 64, 191]).buffer)
    },
    pattern: { layer: 5, head: 1, measure: 'attention', low: 0, high: 1, values: HALVES },
    selection: { rows: EMPTY, examples: EMPTY, tokens: [], layers: [], heads: [] },
    problem: ''
  };
  el = document.createElement('div');
  document.body.append(el);
  life = new AbortController();
  const props = stillProps(traits, el, life.signal);
  model = props.model;
  attention.render(props);
});
afterEach(() => {
  life.abort();
  el.remove();
  vi.useRealTimers();
});

const chips = (): HTMLButtonElement[] => [...el.querySelectorAll<HTMLButtonElement>('.nbi-attention-token')];

test('the pattern that came is shown; of another head its small picture, until it has come', () => {
  expect([...largeOf(model)!.values]).toEqual([1, NaN, 0.25, 0.75]);
  expect(el.dataset.coarse).toBe('false');
  model.set('view', { ...model.get('view'), head: 0 });
  frames();
  const { values, coarse } = largeOf(model)!;
  expect(coarse).toBe(true);
  expect(Array.from(values, value => Number(value.toFixed(3)))).toEqual([1, NaN, 0.2, 0.8]);
  expect(el.querySelector('.nbi-attention-name')!.textContent).toBe('Head 5.0');
});

test('a token under the hand lights what it looks at, and says it', () => {
  chips()[1]!.dispatchEvent(new FocusEvent('focusin', { bubbles: true }));
  expect(chips().map(chip => chip.title)).toEqual(['token 0: 0.25', 'token 1: 0.75']);
  expect(chips()[0]!.style.backgroundColor).not.toBe('');
  expect(el.querySelector('.nbi-attention-words')!.textContent).toBe(
    `token 1 “${WICKED}” looks at 1 “${WICKED}” 0.75, 0 “The” 0.25`
  );
  chips()[1]!.dispatchEvent(new FocusEvent('focusout', { bubbles: true }));
  expect(chips()[0]!.style.backgroundColor).toBe('');
});

test('tokens are picked, one beside the other with Shift, and let go', () => {
  chips()[0]!.click();
  chips()[1]!.dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey: true }));
  expect(model.get('selection').tokens).toEqual([0, 1]);
  frames();
  expect(chips().map(chip => chip.getAttribute('aria-pressed'))).toEqual(['true', 'true']);
  chips()[0]!.dispatchEvent(new MouseEvent('click', { bubbles: true, ctrlKey: true }));
  chips()[1]!.click();
  expect(model.get('selection').tokens).toEqual([]);
});

test('names are text', () => {
  expect(el.querySelector('img')).toBeNull();
  expect(chips()[1]!.textContent).toBe(WICKED);
});
