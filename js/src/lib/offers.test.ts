import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AnyModel } from '@anywidget/types';
import { Offers, type OffersTraits } from './offers';
import { stillModel } from './still';

let life: AbortController;
let bar: Offers;
let model: AnyModel<OffersTraits>;
const send = vi.fn();
const buttons = (): HTMLButtonElement[] => [...bar.element.querySelectorAll('button')];

/** A model with Python behind it: one that nobody answers shows nothing that could be done. */
function answered(state: OffersTraits): AnyModel<OffersTraits> {
  const still = stillModel(state);
  return { ...still, send };
}

function show(offers: OffersTraits['offers']): void {
  model.set('offers', offers);
  bar.update();
}

beforeEach(() => {
  life = new AbortController();
  model = answered({ offers: [] });
  // what marks a model as still is no property that is written down
  Object.getOwnPropertySymbols(model).forEach(symbol => Reflect.deleteProperty(model, symbol));
  bar = new Offers(model, life.signal);
  document.body.append(bar.element);
  send.mockClear();
});
afterEach(() => {
  life.abort();
  bar.element.remove();
});

test('what can be done is a button each, and a click asks Python to do it', () => {
  show([{ words: 'Ablate z.0.1 at “<b>”', done: false }]);
  expect(bar.element.hidden).toBe(false);
  expect(bar.element.querySelector('b')).toBeNull();
  buttons()[0]!.click();
  expect(send.mock.calls[0]![0]).toMatchObject({ what: 'put', words: 'Ablate z.0.1 at “<b>”' });
});

test('what is done says so, cannot be done again, and keeps the focus', () => {
  show([{ words: 'a', done: false }]);
  buttons()[0]!.focus();
  show([
    { words: 'b', done: false },
    { words: 'a', done: true }
  ]);
  expect(document.activeElement).toBe(buttons()[1]);
  expect(buttons()[1]!.textContent).toBe('aon the stack');
  buttons()[1]!.click();
  expect(send).not.toHaveBeenCalled();
});

test('where nothing can be done, nothing is shown: with nothing picked, in an old notebook, without Python', () => {
  show([]);
  expect(bar.element.hidden).toBe(true);
  show(undefined);
  expect(bar.element.hidden).toBe(true);
  const still = new Offers(stillModel<OffersTraits>({ offers: [{ words: 'a', done: false }] }), life.signal);
  still.update();
  expect(still.element.hidden).toBe(true);
});
