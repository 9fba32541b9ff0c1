import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { DialAnswer } from '../lib/protocol';
import type { Pictured } from '../lib/picture';
import dial from './dial';
import type { DialTraits } from './dial/moment';

const WICKED = '<img src=x onerror="throw 1">';

/** A model that behaves like ipywidgets': `set` tells every listener. */
class Model {
  readonly listeners = new Map<string, Set<() => void>>();
  saved = 0;
  constructor(readonly traits: DialTraits) {}
  get<K extends keyof DialTraits>(name: K): DialTraits[K] {
    return this.traits[name];
  }
  set<K extends keyof DialTraits>(name: K, value: DialTraits[K]): void {
    this.traits[name] = value;
    this.listeners.get(`change:${name}`)?.forEach(listener => listener());
  }
  on(name: string, listener: () => void): void {
    this.listeners.set(name, (this.listeners.get(name) ?? new Set()).add(listener));
  }
  off(name: string, listener: () => void): void {
    this.listeners.get(name)?.delete(listener);
  }
  save_changes(): void {
    this.saved += 1;
  }
}

function answer(angle: number, turned: Record<string, number>): DialAnswer {
  const candidates = Object.entries(turned).map(([text, value]) => ({ text, base: 0.2, turned: value, control: 0.1 }));
  return { angle, layer: 3, token: 0, start: 0, candidates, milliseconds: 12 };
}

function traits(): DialTraits {
  const labels = ['North', WICKED, 'South', 'West'].map((text, j) => ({ text, angle: (Math.PI * j) / 2, x: 1, y: 0 }));
  const spec = {
    concept: 'winds',
    prompt: 'Go',
    tokens: [WICKED, ' x'],
    layers: [{ layer: 3, labels, statement: 'sure' }]
  };
  return { spec, angle: 0, layer: 3, token: 0, answer: answer(0, { North: 0.5 }), sweep: null, problem: '' };
}

let model: Model;
let el: Pictured;
let stop: () => void;
const frames = (): void => void vi.advanceTimersByTime(40);

beforeEach(() => {
  vi.useFakeTimers();
  model = new Model(traits());
  el = document.createElement('div');
  document.body.append(el);
  const life = new AbortController();
  stop = dial.render({ model, el, signal: life.signal } as unknown as Parameters<typeof dial.render>[0]);
});

afterEach(() => {
  stop();
  el.remove();
  vi.useRealTimers();
});

const press = (key: string): void => {
  el.querySelector('.nbi-knob')?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
};

test('of the keys within one frame the first is sent at once, the others together', () => {
  press('ArrowRight');
  expect(model.saved).toBe(1);
  press('ArrowRight');
  press('PageUp');
  frames();
  expect(el.dataset.angleDegrees).toBe('90');
  expect(model.saved).toBe(2);
});

test('it works until the answer belongs to what is shown', () => {
  expect(el.dataset.working).toBe('false');
  press('PageUp');
  frames();
  expect(el.dataset.working).toBe('true');
  expect(el.getAttribute('aria-busy')).not.toBe('true');
  vi.advanceTimersByTime(200);
  expect(el.getAttribute('aria-busy')).toBe('true');
  model.set('answer', answer(Math.PI / 2, { [WICKED]: 0.7, North: 0.1 }));
  frames();
  expect(el.dataset.working).toBe('false');
  expect(el.getAttribute('aria-busy')).toBe('false');
  expect(el.dataset.topTurned).toBe(WICKED);
});

test('a problem ends the waiting and is told', () => {
  press('PageUp');
  model.set('problem', '<b>gone</b>');
  frames();
  expect(el.dataset.working).toBe('false');
  expect(el.querySelector('[role=alert]')?.textContent).toBe('<b>gone</b>');
});

test('wicked labels and tokens are text', () => {
  model.set('answer', answer(0, { [WICKED]: 0.7 }));
  frames();
  expect(el.querySelectorAll('img').length).toBe(0);
  expect(el.querySelector('.nbi-chip')?.textContent).toContain(WICKED);
  const picture = new DOMParser().parseFromString(el.nbinterpPicture?.() ?? '', 'text/html');
  expect(picture.querySelectorAll('img').length).toBe(1);
  expect(picture.querySelector('img')?.getAttribute('src')).toMatch(/^data:image\/svg/);
});

test('numbers of another angle are not in the picture', () => {
  expect(el.nbinterpPicture?.()).toContain('<table>');
  press('PageUp');
  expect(el.nbinterpPicture?.()).not.toContain('<table>');
});

test('nothing listens after the end', () => {
  stop();
  expect([...model.listeners.values()].every(listeners => listeners.size === 0)).toBe(true);
  press('ArrowRight');
  frames();
  expect(el.dataset.angleDegrees).toBe('0');
  expect(model.saved).toBe(0);
});

test('an empty dial says so', () => {
  model.set('spec', { concept: '', prompt: '', tokens: [], layers: [] });
  frames();
  expect(el.querySelector('.nbi-statement')?.textContent).toBe('No circle was fitted at this layer.');
  expect(el.nbinterpPicture?.()).toBeNull();
});
