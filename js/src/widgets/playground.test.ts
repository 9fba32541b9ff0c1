import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Pictured } from '../lib/picture';
import type { Act, Chance, Curve, PlaygroundAnswer, Recipe, Setting } from '../lib/protocol';
import { stillModel } from '../lib/still';
import type { PlaygroundModel, PlaygroundTraits } from './playground/moment';
import { renderPlayground } from './playground';

const WICKED = '<img src=x onerror="throw 1">\u202ex</script>';

/** A model that behaves like ipywidgets': `set` tells every listener, `send` is what Python hears. */
class Model {
  readonly listeners = new Map<string, Set<(...args: unknown[]) => void>>();
  readonly sent: { what: string; ask: number }[] = [];
  saved = 0;
  constructor(readonly traits: PlaygroundTraits) {}
  get<K extends keyof PlaygroundTraits>(name: K): PlaygroundTraits[K] {
    return this.traits[name];
  }
  set<K extends keyof PlaygroundTraits>(name: K, value: PlaygroundTraits[K]): void {
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
  send(message: { what: string; ask: number }): void {
    this.sent.push(message);
  }
  reply(message: object): void {
    this.listeners.get('msg:custom')?.forEach(listener => listener(message, []));
  }
}

function act(id: string, change: Partial<Act> = {}): Act {
  const place = { component: 'resid_post', layer: 1, head: -1, tokens: 'last', steps: 'all' };
  return { id, recipe: 'steer', on: true, ...place, values: { scale: 1 }, texts: {}, ...change };
}

const chance = (text: string, changed: number): Chance => ({ text, base: 0.5, changed, control: 0.4 });

function answer(moment: number, chances: Record<string, number>, tokens = ['Go', ' on']): PlaygroundAnswer {
  const candidates = Object.entries(chances).map(([text, value]) => chance(text, value));
  return {
    moment,
    tokens,
    candidates,
    tracked: [],
    moved: [],
    warnings: [],
    curves: ['k'],
    kl: 0.5,
    kl_control: 0.1,
    milliseconds: 12
  };
}

function traits(): PlaygroundTraits {
  const scale = { name: 'scale', low: -4, high: 4, step: 0.5, home: 0, start: 1, unit: 'times' };
  const steer: Recipe = {
    ...{ id: 'steer', kind: 'Steer', name: WICKED, statement: WICKED, components: ['resid_post'] },
    ...{ layers: [0, 1, 2], found: 1, parameters: [scale], texts: [] }
  };
  const setting: Setting = {
    ...{ moment: 1, gesture: 1, prompt: 'Go on', chat: [], acts: [act('a'), act('b')], tracked: [], hand: 'a' },
    ...{ parameter: 'scale', seed: 0, max_new_tokens: 8, temperature: 0 }
  };
  const curve: Curve = {
    ...{ act: 'a', parameter: 'scale', key: 'k', values: [-4, 0, 4], total: 3, difference: [] },
    series: [{ text: ' yes', base: 0.5, changed: [0.1, 0.5, 0.9], control: [0.5, 0.5, 0.5] }]
  };
  const nothing = new DataView(new ArrayBuffer(0));
  return {
    spec: {
      model: 'm',
      n_layers: 3,
      chat: true,
      components: [{ name: 'resid_post', what: '', heads: 0, layered: true }]
    },
    recipes: [steer],
    added: { recipes: [], templates: {}, spaces: {}, missing: {} },
    setting,
    selection: { rows: nothing, examples: nothing, tokens: [], layers: [], heads: [] },
    answer: answer(1, { ' yes': 0.6, ' no': 0.2 }),
    curves: [curve],
    generated: null,
    kept: [],
    timeline: { undo: 'scale 1.00', redo: '' },
    task: null,
    problem: ''
  };
}

let model: Model;
let el: Pictured;
let stop: () => void;

const frames = (): void => void vi.advanceTimersByTime(40);
const all = (selector: string): HTMLElement[] => [...el.querySelectorAll<HTMLElement>(selector)];
const one = (selector: string): HTMLElement => el.querySelector<HTMLElement>(selector)!;
const button = (name: string): HTMLButtonElement =>
  all('button').find(b => (b.getAttribute('aria-label') ?? b.textContent).startsWith(name)) as HTMLButtonElement;
const press = (target: Element, key: string, more: KeyboardEventInit = {}): KeyboardEvent => {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
};

function show(of: object): void {
  el = document.createElement('div');
  document.body.append(el);
  stop = renderPlayground({ model: of as PlaygroundModel, el });
}

beforeEach(() => {
  vi.useFakeTimers();
  model = new Model(traits());
  show(model);
});

afterEach(() => {
  stop();
  document.body.replaceChildren();
  vi.useRealTimers();
});

test('a slider moves the setting at once, and what follows within a frame is sent together', () => {
  const slider = one('.nbi-card .nbi-slider');
  press(slider, 'ArrowRight');
  expect(model.saved).toBe(1);
  press(slider, 'ArrowRight', { repeat: true });
  press(slider, 'ArrowRight', { repeat: true });
  expect(model.saved).toBe(1);
  expect(model.get('setting').acts[0]?.values.scale).toBe(2.5);
  expect([model.get('setting').moment, model.get('setting').gesture]).toEqual([4, 2]);
  frames();
  expect(model.saved).toBe(2);
  expect([el.dataset.moment, el.dataset.answered, el.dataset.working]).toEqual(['4', '1', 'true']);
});

test('numbers of an older setting are pale only when the answer takes long', () => {
  press(one('.nbi-card .nbi-slider'), 'ArrowRight');
  frames();
  expect(all('.nbi-stale')).toEqual([]);
  vi.advanceTimersByTime(200);
  expect(one('.nbi-answer').classList.contains('nbi-stale')).toBe(true);
  model.set('answer', answer(2, { ' no': 0.9 }));
  frames();
  expect(all('.nbi-stale')).toEqual([]);
  expect(el.dataset.topChanged).toBe(' no');
  expect(one('.nbi-headline').textContent).toContain('→ changed: no 90 %');
});

test('what has the focus keeps it while everything around it changes', () => {
  const slider = all('.nbi-card .nbi-slider')[1]!;
  slider.focus();
  frames();
  // the slider in hand is the one with the focus, which is no step of its own
  expect([model.get('setting').hand, model.get('setting').gesture]).toEqual(['b', 1]);
  press(slider, 'ArrowUp', { altKey: true });
  frames();
  expect(model.get('setting').acts.map(({ id }) => id)).toEqual(['b', 'a']);
  model.set('answer', answer(9, { ' new': 0.5 }));
  model.set('recipes', [...model.get('recipes')]);
  frames();
  expect(document.activeElement).toBe(slider);
});

test('what Python changes is shown, but not over what is being written', () => {
  const prompt = one('.nbi-writing') as HTMLTextAreaElement;
  prompt.focus();
  prompt.value = 'Go away';
  prompt.dispatchEvent(new Event('input'));
  model.set('setting', { ...model.get('setting'), moment: 5, prompt: 'From Python' });
  frames();
  expect(prompt.value).toBe('Go away');
  const enter = press(prompt, 'Enter');
  expect(enter.defaultPrevented).toBe(true);
  expect(model.get('setting').prompt).toBe('Go away');
  model.set('setting', { ...model.get('setting'), moment: 9, prompt: 'Undone' });
  frames();
  expect(prompt.value).toBe('Undone');
});

test('a pause asks, too', () => {
  const prompt = one('.nbi-writing') as HTMLTextAreaElement;
  prompt.value = 'Go home';
  prompt.dispatchEvent(new Event('input'));
  vi.advanceTimersByTime(390);
  expect(model.get('setting').prompt).toBe('Go on');
  vi.advanceTimersByTime(20);
  expect(model.get('setting').prompt).toBe('Go home');
});

test('keys are the widget’s: none adds a cell, and undo is not the notebook’s', () => {
  const heard: string[] = [];
  const listen = (event: KeyboardEvent): void => void heard.push(event.key);
  document.body.addEventListener('keydown', listen);
  press(one('.nbi-card .nbi-slider'), 'b');
  press(one('.nbi-writing'), 'Enter', { shiftKey: true });
  press(one('.nbi-card-name'), 'z', { ctrlKey: true });
  press(one('.nbi-card-name'), 'Z', { metaKey: true, shiftKey: true });
  // in a text it is the text's own undo; running a cell is the notebook's
  press(one('.nbi-writing'), 'z', { ctrlKey: true });
  press(one('.nbi-card-name'), 'Enter', { shiftKey: true });
  document.body.removeEventListener('keydown', listen);
  expect(heard).toEqual(['z', 'Enter']);
  expect(model.sent.map(({ what }) => what)).toEqual(['undo', 'redo']);
});

test('undo says what it would do', () => {
  expect(button('Undo').title).toBe('Undo: scale 1.00');
  expect(button('Redo').disabled).toBe(true);
});

test('picking is shared, and says where the next intervention goes', () => {
  const [layer] = all('.nbi-layers [role=option]').slice(2);
  const token = all('.nbi-tokens [role=option]')[0]!;
  const pointer = (target: Element, more: MouseEventInit = {}): void =>
    void target.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true, button: 0, ...more }));
  pointer(token);
  pointer(layer!);
  frames();
  expect([model.get('selection').tokens, model.get('selection').layers]).toEqual([[0], [2]]);
  expect(token.getAttribute('aria-selected')).toBe('true');
  expect(one('.nbi-picked-words').textContent).toContain('1 token (0) and 1 layer (2)');
  pointer(all('.nbi-tokens [role=option]')[1]!, { shiftKey: true });
  expect(model.get('selection').tokens).toEqual([0, 1]);
  press(token, 'Escape');
  expect(model.get('selection').tokens).toEqual([]);
});

test('cards are switched, copied and removed; the keyboard goes on beside them', () => {
  const toggle = all('.nbi-switch')[0] as HTMLInputElement;
  toggle.checked = false;
  toggle.dispatchEvent(new Event('change'));
  expect(model.get('setting').acts[0]?.on).toBe(false);
  button('Duplicate').click();
  frames();
  const [first, copy] = model.get('setting').acts;
  expect(copy).toEqual({ ...first, id: copy?.id });
  expect([all('.nbi-card').length, copy?.id === first?.id, model.get('setting').hand]).toEqual([3, false, copy?.id]);
  button('Remove').click();
  frames();
  expect(all('.nbi-card').length).toBe(2);
  expect(one('.nbi-cards').contains(document.activeElement)).toBe(true);
});

test('a token is followed by its pin', () => {
  const pin = one('.nbi-pin button');
  pin.click();
  frames();
  expect(model.get('setting').tracked).toEqual([' yes']);
  expect(pin.getAttribute('aria-pressed')).toBe('true');
  pin.click();
  expect(model.get('setting').tracked).toEqual([]);
});

test('what Python refuses is said in the widget, until the hand tries again', async () => {
  button('Keep this run').click();
  const [question] = model.sent;
  expect(question?.what).toBe('keep');
  model.reply({ reply: question?.ask, problem: 'got no run; wanted one.' });
  await Promise.resolve();
  await Promise.resolve();
  frames();
  expect([one('.nbi-problem').textContent, el.dataset.problem]).toEqual([
    'got no run; wanted one.',
    'got no run; wanted one.'
  ]);
  press(one('.nbi-card .nbi-slider'), 'ArrowRight');
  frames();
  expect(one('.nbi-problem').textContent).toBe('');
});

test('an older curve is pale until the new one has come', () => {
  const dose = one('.nbi-dose');
  expect(dose.classList.contains('nbi-outdated')).toBe(false);
  // its own slider leaves the curve true
  press(all('.nbi-card .nbi-slider')[0]!, 'ArrowRight');
  frames();
  expect(dose.classList.contains('nbi-outdated')).toBe(false);
  const { setting } = model.traits;
  model.set('setting', { ...setting, moment: setting.moment + 1, prompt: 'Another' });
  frames();
  expect(dose.classList.contains('nbi-outdated')).toBe(true);
  model.set('answer', answer(model.get('setting').moment, { ' yes': 1 }));
  model.set(
    'curves',
    model.get('curves').map(curve => ({ ...curve, key: 'other' }))
  );
  frames();
  expect(dose.classList.contains('nbi-outdated')).toBe(false);
});

test('texts of strangers stay texts, also in the picture', () => {
  model.set('answer', answer(1, { [WICKED]: 0.6, ['x'.repeat(10_000)]: 0.2 }, [WICKED, '\n']));
  frames();
  expect(all('img, script').length).toBe(0);
  expect(one('.nbi-card-title').textContent).toContain('<img src=x');
  expect(one('.nbi-tokens').textContent).toContain('\\u202e');
  const picture = el.nbinterpPicture?.() ?? '';
  const parsed = new DOMParser().parseFromString(picture, 'text/html');
  expect(parsed.querySelectorAll('img').length).toBe(1);
  expect(parsed.querySelector('table')?.textContent).toContain('<img src=x');
  const drawn = atob(parsed.querySelector('img')?.getAttribute('src')?.split(',')[1] ?? '');
  expect(drawn).not.toContain('<img');
  expect(drawn.length).toBeLessThan(60_000);
});

test('without a kernel a stored curve still slides, and nothing else does', () => {
  stop();
  el.remove();
  const still = stillModel<PlaygroundTraits>(traits());
  show(still);
  const [a, b] = all('.nbi-card .nbi-slider') as HTMLInputElement[];
  expect([a!.disabled, b!.disabled]).toEqual([false, true]);
  expect(one('.nbi-no-kernel').textContent).toMatch(/^No kernel/);
  expect(all('.nbi-tools, .nbi-add, .nbi-keep-form, .nbi-speech').every(element => element.hidden)).toBe(true);
  press(a!, 'End');
  frames();
  expect([el.dataset.topChanged, one('.nbi-number.nbi-of-changed').textContent]).toEqual([' yes', '90 %']);
  press(a!, 'PageDown');
  frames();
  expect(one('.nbi-number.nbi-of-changed').textContent).toBe('80 %');
  // back at the stored value the stored answer is shown again
  a!.value = '1';
  a!.dispatchEvent(new Event('input'));
  frames();
  expect([one('.nbi-number.nbi-of-changed').textContent, el.dataset.moment]).toEqual(['60 %', '1']);
  expect(el.nbinterpPicture?.()).toContain('60 %');
});

test('a warning comes when the hand rests, and goes as soon as it no longer holds', () => {
  const warned = (...warnings: string[]): void => {
    model.set('answer', { ...answer(1, { ' yes': 0.6 }), warnings });
    frames();
  };
  const said = (): string[] => all('.nbi-warnings li').map(line => line.textContent);
  warned('Scale changed nothing there.', `Patch ${WICKED}.`);
  expect(said()).toEqual([]);
  vi.advanceTimersByTime(400);
  expect(said()).toEqual(['Scale changed nothing there.', expect.stringContaining('<img src=x')]);
  expect([one('.nbi-warnings').getAttribute('role'), all('img').length]).toEqual(['status', 0]);
  const picture = new DOMParser().parseFromString(el.nbinterpPicture?.() ?? '', 'text/html').querySelector('img');
  expect(picture?.alt).toContain('Scale changed nothing there');
  expect(atob(picture?.getAttribute('src')?.split(',')[1] ?? '')).toContain('! Scale changed nothing there.');
  warned('Scale changed nothing there.');
  expect(said()).toEqual(['Scale changed nothing there.']);
  warned();
  expect(said()).toEqual([]);
});

test('an exported page waits for the curves of all sliders, and says how many slide', async () => {
  const tick = async (): Promise<void> => {
    for (let n = 0; n < 6; n += 1) {
      await Promise.resolve();
    }
    frames();
  };
  // happy-dom has no popovers
  Object.assign(HTMLElement.prototype, { showPopover: () => undefined, hidePopover: () => undefined });
  button('Export').click();
  all('[role=menuitem]')
    .find(item => item.textContent === 'HTML page')!
    .click();
  expect(model.sent.map(({ what }) => what)).toEqual(['complete']);
  model.set('task', { name: 'computing the curves', done: 0, total: 0, stoppable: true });
  model.reply({ reply: model.sent[0]?.ask, problem: '' });
  await tick();
  model.set('task', { name: 'computing the curves', done: 41, total: 82, stoppable: true });
  await tick();
  expect(model.sent.length).toBe(1);
  model.set('task', null);
  await tick();
  expect(model.sent.map(({ what }) => what)).toEqual(['complete', 'export']);
  const file = {
    name: 'playground.html',
    mime: 'text/html',
    text: '<!doctype html>',
    note: 'Every slider still slides.'
  };
  model.reply({ reply: model.sent[1]?.ask, problem: '', ...file });
  await tick();
  expect(one('.nbi-dialog-note').textContent).toContain('Every slider still slides.');
  expect([...(model.listeners.get('change:task') ?? [])].length).toBe(1);
});

test('a stored curve that was drawn under another stack does not slide', () => {
  stop();
  el.remove();
  const stored = traits();
  show(stillModel<PlaygroundTraits>({ ...stored, answer: { ...stored.answer!, curves: ['another'] } }));
  expect((all('.nbi-card .nbi-slider') as HTMLInputElement[]).map(slider => slider.disabled)).toEqual([true, true]);
});

test('what an earlier version stored is shown', () => {
  stop();
  el.remove();
  const stored = traits();
  Reflect.deleteProperty(stored.answer!, 'warnings');
  Reflect.deleteProperty(stored.answer!, 'curves');
  show(stillModel<PlaygroundTraits>(stored));
  expect((all('.nbi-card .nbi-slider') as HTMLInputElement[]).map(slider => slider.disabled)).toEqual([false, true]);
  expect(el.nbinterpPicture?.()).toContain('60 %');
});

test('what was added is brought back before what uses it', () => {
  const set = vi.spyOn(model, 'set');
  el.nbinterpRestore?.(el.nbinterpState?.() ?? {});
  expect(set.mock.calls.map(([name]) => name)).toEqual(['added', 'setting', 'kept', 'selection']);
});

test('nothing listens once the view is closed', () => {
  stop();
  expect([...model.listeners.values()].map(set => set.size)).toEqual([...model.listeners.values()].map(() => 0));
  vi.runAllTimers();
});
