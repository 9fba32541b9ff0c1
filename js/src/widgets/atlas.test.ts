import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Pictured } from '../lib/picture';
import type { Claim } from '../lib/protocol';
import { bytesOf, count, fromRows, toRows } from '../lib/selection';
import { stillModel } from '../lib/still';
import atlas from './atlas';
import type { AtlasTraits } from './atlas/traits';

const WICKED = '<img src=x onerror="throw 1">';
const N = 8;
const view = (values: ArrayLike<number>, kind: typeof Float32Array | typeof Uint8Array): DataView =>
  new DataView(kind.from(values).buffer);

/** A model that behaves like ipywidgets': `set` tells every listener, a question is answered. */
class Model {
  readonly listeners = new Map<string, Set<(...given: unknown[]) => void>>();
  readonly asked: Record<string, unknown>[] = [];
  saved = 0;
  constructor(readonly traits: AtlasTraits) {}
  get<K extends keyof AtlasTraits>(name: K): AtlasTraits[K] {
    return this.traits[name];
  }
  set<K extends keyof AtlasTraits>(name: K, value: AtlasTraits[K]): void {
    this.traits[name] = value;
    this.tell(`change:${name}`);
  }
  tell(event: string, ...given: unknown[]): void {
    this.listeners.get(event)?.forEach(listener => listener(...given));
  }
  on(name: string, listener: () => void): void {
    this.listeners.set(name, (this.listeners.get(name) ?? new Set()).add(listener));
  }
  off(name: string, listener: () => void): void {
    this.listeners.get(name)?.delete(listener);
  }
  send(message: Record<string, unknown>): void {
    this.asked.push(message);
  }
  save_changes(): void {
    this.saved += 1;
  }
}

function traits(): AtlasTraits {
  const claim: Claim = {
    ...{ id: 'a', kind: 'direction', name: WICKED, site: 'resid_post.1', n_rows: 4, statement: WICKED, caveat: WICKED },
    ...{ p: 0.001, p_corrected: 0.004, effect: 0.97 }
  };
  const column = { cyclic: false, low: 0, high: 7 };
  return {
    spec: {
      ...{ n: N, title: WICKED, sites: ['resid_post.1', 'resid_post.2'], model: 'toy' },
      layouts: ['pca', 'umap', 'columns'].map(name => ({ name, x: '', y: '', note: '' }))
    },
    columns: [
      {
        ...column,
        name: 'word',
        kind: 'label',
        levels: [WICKED, 'b'],
        width: 1,
        values: view([0, 0, 0, 0, 1, 1, 1, 1], Uint8Array)
      },
      {
        ...column,
        name: 'norm',
        kind: 'number',
        levels: [],
        width: 4,
        values: view([0, 1, 2, 3, 4, 5, 6, 7], Float32Array)
      }
    ],
    view: {
      layout: 'pca',
      x: 'norm',
      y: 'norm',
      color: 'word',
      histogram: 'word',
      site: 0,
      n_neighbors: 5,
      min_dist: 0.1
    },
    positions: {
      layout: 'pca',
      sites: [0, 1],
      x: WICKED,
      y: 'y',
      note: WICKED,
      xy: view(new Float32Array(4 * N), Float32Array)
    },
    shapes: {
      ...{ site: 0, threshold: 0.2, ratio: 1.2, end: 2, p: 0.005, verdict: `a loop ${WICKED}`, note: WICKED },
      features: [
        { id: 'H0.0', dimension: 0, birth: 0, death: 2, rows: [] },
        { id: 'H1.0', dimension: 1, birth: 0.3, death: 1.5, rows: [5, 0, 2] }
      ]
    },
    ...{ claims: [claim], looks: 4, again: null, playground: '', task: null, problem: '' },
    selection: { rows: view([], Uint8Array), examples: view([], Uint8Array), tokens: [], layers: [], heads: [] }
  };
}

let model: Model;
let el: Pictured;
let stop: () => void;
const frames = (): void => void vi.advanceTimersByTime(60);
const picked = (): number[] => toRows(bytesOf(model.traits.selection.rows));
const press = (selector: string, key: string, more: KeyboardEventInit = {}): void => {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more });
  el.querySelector(selector)?.dispatchEvent(event);
};
const click = (selector: string): void => {
  el.querySelector(selector)?.dispatchEvent(new MouseEvent('click', { bubbles: true }));
};

function draw(shown: unknown): void {
  el = document.createElement('div');
  document.body.append(el);
  const life = new AbortController();
  stop = atlas.render({ model: shown, el, signal: life.signal } as Parameters<typeof atlas.render>[0]);
  frames();
}

beforeEach(() => {
  vi.useFakeTimers();
  model = new Model(traits());
  draw(model);
});

afterEach(() => {
  stop();
  el.remove();
  vi.useRealTimers();
});

test('a class that is picked picks its rows, in both pictures, and lets go of them again', () => {
  click('.atlas-diagram [data-class="H1.0"]');
  frames();
  expect(picked()).toEqual([0, 2, 5]);
  expect(el.querySelectorAll('[data-class="H1.0"][aria-pressed=true]').length).toBe(2);
  expect(el.dataset.picked).toBe('3');
  press('.atlas-barcode [data-class="H1.0"]', 'Enter');
  frames();
  expect(picked()).toEqual([]);
});

test('what Python picks shows everywhere within a frame', () => {
  model.set('selection', { ...model.traits.selection, rows: view(fromRows([0, 1, 4]), Uint8Array) });
  frames();
  expect(el.querySelector('.atlas-picked')?.textContent).toContain('3 of 8 rows picked');
  expect([...el.querySelectorAll('.atlas-bar')].map(bar => bar.getAttribute('aria-pressed'))).toEqual([
    'mixed',
    'mixed'
  ]);
  expect(el.querySelector('[data-class="H1.0"]')?.classList.contains('atlas-holds')).toBe(true);
});

test('a tap beside a class means the nearest one, and is told in words', () => {
  const diagram = el.querySelector('.atlas-diagram')!;
  const places: Record<string, DOMRect> = { 'H0.0': new DOMRect(10, 10, 8, 8), 'H1.0': new DOMRect(60, 60, 8, 8) };
  for (const [id, box] of Object.entries(places)) {
    el.querySelector(`.atlas-diagram [data-class="${id}"] .atlas-body`)!.getBoundingClientRect = () => box;
  }
  const tap = (pointerType: string, clientX: number): void => {
    diagram.dispatchEvent(Object.assign(new MouseEvent('pointerdown', { bubbles: true }), { pointerType }));
    diagram.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX, clientY: 60 }));
    frames();
  };
  tap('mouse', 80);
  tap('touch', 100);
  expect(picked()).toEqual([]);
  tap('touch', 80);
  expect(picked()).toEqual([0, 2, 5]);
  expect(el.querySelector('.atlas-told')?.textContent).toContain('loop H1.0: born at 0.3');
  tap('touch', 80);
  expect(picked()).toEqual([]);
  expect(el.querySelector('.atlas-told')?.textContent).toBe('');
});

test('a finger that scrolls past the bars picks none of them; one that taps or goes across does', () => {
  const drawing = el.querySelector<SVGElement>('.atlas-histogram svg')!;
  drawing.setPointerCapture = () => undefined;
  drawing.getBoundingClientRect = () => new DOMRect(0, 0, 420, 190);
  const finger = (type: string, clientX: number): void => {
    const told = new MouseEvent(type, { bubbles: true, clientX, clientY: 90 });
    drawing.dispatchEvent(Object.assign(told, { pointerType: 'touch', pointerId: 1, isPrimary: true }));
  };
  finger('pointerdown', 100);
  finger('pointercancel', 100);
  expect(picked()).toEqual([]);
  finger('pointerdown', 100);
  finger('pointerup', 100);
  expect(picked()).toEqual([0, 1, 2, 3]);
  finger('pointerdown', 100);
  finger('pointermove', 390);
  expect(picked()).toHaveLength(8);
  finger('pointerup', 390);
});

test('the picture shows the cloud that was collected again, as long as the page does', () => {
  const xy = view(new Float32Array(2 * N), Float32Array);
  model.set('again', { site: 0, layout: 'pca', what: 'Steer at resid_post.1', statement: '8 rows moved.', xy });
  frames();
  const words = (): string =>
    new DOMParser().parseFromString(el.nbinterpPicture?.() ?? '', 'text/html').querySelector('table')!.textContent;
  expect(words()).toContain('collected againSteer at resid_post.1: 8 rows moved.');
  model.set('view', { ...model.traits.view, site: 1 });
  frames();
  expect(words()).not.toContain('collected again');
});

test('bars are picked and extended by keyboard', () => {
  press('.atlas-bar', 'Enter');
  expect(picked()).toEqual([0, 1, 2, 3]);
  press('.atlas-bar', 'ArrowRight', { shiftKey: true });
  expect(count(bytesOf(model.traits.selection.rows))).toBe(8);
});

test('of many changes within a frame the first is saved at once, the others together', () => {
  const before = model.saved;
  press('.atlas-bar', 'Enter');
  expect(model.saved).toBe(before + 1);
  press('.atlas-bar', 'ArrowRight', { shiftKey: true });
  press('.atlas-bar', 'ArrowRight', { shiftKey: true });
  frames();
  expect(model.saved).toBe(before + 2);
});

test('questions go to Python, and what it refuses is told', async () => {
  press('.atlas-bar', 'Enter');
  frames();
  const direction = [...el.querySelectorAll('button')].find(button => button.textContent === 'Direction')!;
  direction.click();
  const asked = model.asked.find(message => message.what === 'make')!;
  expect(asked).toMatchObject({ kind: 'direction', column: '', name: '' });
  model.tell('msg:custom', { reply: asked.ask, problem: 'got <b>this</b>; wanted that.' }, []);
  await vi.advanceTimersByTimeAsync(60);
  expect(el.querySelector('[role=alert]')?.textContent).toBe('got <b>this</b>; wanted that.');
});

test('what cannot be made says why and asks nothing', () => {
  const direction = [...el.querySelectorAll('button')].find(button => button.textContent === 'Direction')!;
  expect(direction.getAttribute('aria-disabled')).toBe('true');
  direction.click();
  expect(model.asked.some(message => message.what === 'make')).toBe(false);
  expect(el.querySelector('.atlas-reason')?.textContent).toContain('pick rows first');
});

test('two columns of numbers are laid out without Python, and the other layout comes back at once', () => {
  model.set('view', { ...model.traits.view, layout: 'columns' });
  frames();
  expect(el.querySelector('.atlas-main .atlas-note')?.textContent).toBe('two columns of the table');
  model.set('positions', { ...model.traits.positions!, layout: 'columns', note: 'of Python' });
  model.set('view', { ...model.traits.view, layout: 'pca' });
  frames();
  expect(el.querySelector('.atlas-main .atlas-note')?.textContent).toBe(WICKED);
  expect(el.classList.contains('atlas-moving')).toBe(false);
  model.set('view', { ...model.traits.view, layout: 'umap' });
  frames();
  expect(el.classList.contains('atlas-moving')).toBe(true);
});

test('wicked texts are text', () => {
  expect(el.querySelectorAll('img, b, script').length).toBe(0);
  expect(el.querySelector('.atlas-claim')?.textContent).toContain(WICKED);
  const picture = new DOMParser().parseFromString(el.nbinterpPicture?.() ?? '', 'text/html');
  expect(picture.querySelectorAll('img').length).toBe(1);
  expect(picture.querySelector('table')?.textContent).toContain(WICKED);
});

test('without Python the table is made of the columns, and nothing is offered that cannot be done', async () => {
  stop();
  el.remove();
  draw(stillModel(traits()));
  await vi.advanceTimersByTimeAsync(60);
  expect(el.querySelector('[role=alert]')?.textContent).toBe('');
  expect(el.querySelector('.atlas-scroll')?.getAttribute('aria-rowcount')).toBe('9');
  expect(el.querySelector<HTMLElement>('.atlas-makers')?.hidden).toBe(true);
  expect([...el.querySelectorAll('.atlas-select option')].map(option => option.textContent)).not.toContain('UMAP');
  expect(el.querySelectorAll('.atlas-claim .nbi-button:not([hidden])').length).toBe(0);
});

test('nothing listens after the end', () => {
  stop();
  expect([...model.listeners.values()].every(listeners => listeners.size === 0)).toBe(true);
});
