import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { NumberControl, onStep, readNumber, written } from './controls';
import { Progress } from './progress';

const RANGE = { name: 'scale', low: -4, high: 4, step: 0.05, unit: 'times', home: 0 };
let life: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  life = new AbortController();
});
afterEach(() => {
  life.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

test('numbers are written with the digits of their step and read as people type them', () => {
  expect([written(-1, 0.05), written(-0.001, 0.05), written(3, 1)]).toEqual(['−1.00', '0.00', '3']);
  expect(['−2,5', ' 3 ', '1e2', 'x', ''].map(readNumber)).toEqual([-2.5, 3, 100, null, null]);
  expect([onStep(0.12, RANGE), onStep(99, RANGE), onStep(0.123, { low: 0, high: 1, step: 0 })]).toEqual([
    0.1, 4, 0.123
  ]);
});

function control(): { one: NumberControl; told: [number, boolean][]; field: HTMLInputElement } {
  const told: [number, boolean][] = [];
  const one = new NumberControl(RANGE, (value, start) => told.push([value, start]), life.signal);
  one.value = 1;
  document.body.append(one.element);
  return { one, told, field: one.element.querySelector('.nbi-field')! };
}
const key = (target: Element, name: string, more: KeyboardEventInit = {}): void => {
  target.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true, ...more }));
};

test('keys move the slider; a key that is held is one gesture', () => {
  const { one, told } = control();
  key(one.slider, 'ArrowRight');
  key(one.slider, 'ArrowRight', { repeat: true });
  key(one.slider, 'PageDown');
  key(one.slider, 'Home');
  key(one.slider, 'Home');
  expect(told).toEqual([
    [1.05, true],
    [1.1, false],
    [0.3, true],
    [-4, true]
  ]);
});

test('a drag is one gesture, a double click goes home', () => {
  const { one, told } = control();
  one.slider.dispatchEvent(new Event('pointerdown'));
  for (const value of ['2', '2.5']) {
    one.slider.value = value;
    one.slider.dispatchEvent(new Event('input'));
  }
  one.slider.dispatchEvent(new Event('dblclick'));
  expect(told).toEqual([
    [2, true],
    [2.5, false],
    [0, true]
  ]);
});

test('the wheel turns it only when it has the focus', () => {
  const { one, told } = control();
  const turn = (): boolean => one.slider.dispatchEvent(new WheelEvent('wheel', { deltaY: -1, cancelable: true }));
  turn();
  expect(told).toEqual([]);
  one.slider.focus();
  turn();
  expect(told.map(([value]) => value)).toEqual([1.05]);
});

test('a number is typed, and nonsense is taken back', () => {
  const { one, told, field } = control();
  const type = (text: string): void => {
    field.focus();
    field.value = text;
    field.dispatchEvent(new Event('input'));
  };
  type('−2,5');
  // an answer that arrives meanwhile does not overwrite it
  one.value = 3;
  expect(field.value).toBe('−2,5');
  key(field, 'Enter');
  type('nonsense');
  key(field, 'Enter');
  type('99');
  key(field, 'Escape');
  expect(told).toEqual([[-2.5, true]]);
  expect(field.value).toBe('−2.50');
});

test('progress: nothing at first, then a light, then a bar and a way to stop', () => {
  const stop = vi.fn();
  const progress = new Progress(stop, life.signal);
  document.body.append(progress.element);
  const { element } = progress;
  const bar = element.querySelector('progress')!;
  const button = element.querySelector('button')!;
  progress.update({ name: 'collecting', done: 0, total: 0, stoppable: true });
  vi.advanceTimersByTime(190);
  expect(element.hidden).toBe(true);
  vi.advanceTimersByTime(20);
  expect([element.hidden, bar.hidden, button.hidden]).toEqual([false, true, true]);
  expect(element.querySelector('[role=status]')?.textContent).toBe('collecting');
  vi.advanceTimersByTime(1900);
  expect([bar.hidden, button.hidden, bar.hasAttribute('value')]).toEqual([false, false, false]);
  progress.update({ name: 'collecting', done: 3, total: 4, stoppable: true });
  expect([bar.value, bar.max, element.querySelector('.nbi-progress-count')?.textContent]).toEqual([3, 4, '3 of 4']);
  button.click();
  expect([stop.mock.calls.length, button.disabled]).toEqual([1, true]);
  progress.update(null);
  expect(element.hidden).toBe(true);
  // the next piece of work begins anew
  progress.update({ name: 'generating', done: 0, total: 9, stoppable: false });
  vi.advanceTimersByTime(150);
  expect(element.hidden).toBe(true);
  vi.advanceTimersByTime(2000);
  expect([bar.hidden, button.hidden]).toEqual([false, true]);
});

test('work that is done soon is never seen', () => {
  const progress = new Progress(vi.fn(), life.signal);
  for (let n = 0; n < 20; n += 1) {
    progress.update({ name: 'x', done: n, total: 20, stoppable: true });
    vi.advanceTimersByTime(100);
    progress.update(null);
    expect(progress.element.hidden).toBe(true);
  }
});
