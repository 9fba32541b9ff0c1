/** What the hand can do to a setting: each edit is a function from one setting to the next. */

import type { Act, Recipe, Setting, Turn } from '../../lib/protocol';
import type { Picks } from './moment';
import { writePlace } from './places';

export type Edit = (setting: Setting) => Setting;

/** Every change grows the moment; what begins a gesture of the hand is undone by itself. */
export function next(before: Setting, edit: Edit, gestureStart: boolean): Setting {
  const after = edit(before);
  return after === before
    ? before
    : { ...after, moment: before.moment + 1, gesture: before.gesture + (gestureStart ? 1 : 0) };
}

/** Take a slider in hand: its dose-response curve is drawn. */
export function takeInHand(act: string, parameter: string): Edit {
  return setting =>
    setting.hand === act && setting.parameter === parameter ? setting : { ...setting, hand: act, parameter };
}

export function changeAct(id: string, change: Partial<Omit<Act, 'id'>>): Edit {
  return setting => {
    const act = setting.acts.find(one => one.id === id);
    const same = act === undefined || Object.entries(change).every(([name, value]) => act[name as keyof Act] === value);
    return same ? setting : { ...setting, acts: setting.acts.map(one => (one === act ? { ...one, ...change } : one)) };
  };
}

/** Move a slider, and take it in hand. */
export function changeValue(id: string, parameter: string, value: number): Edit {
  return setting => {
    const act = setting.acts.find(one => one.id === id);
    if (act === undefined || act.values[parameter] === value) {
      return setting;
    }
    return takeInHand(id, parameter)(changeAct(id, { values: { ...act.values, [parameter]: value } })(setting));
  };
}

export function changeText(id: string, name: string, text: string): Edit {
  return setting => {
    const act = setting.acts.find(one => one.id === id);
    return act === undefined || act.texts[name] === text
      ? setting
      : changeAct(id, { texts: { ...act.texts, [name]: text } })(setting);
  };
}

/** Put an intervention to another place of the stack. */
export function moveAct(id: string, to: number): Edit {
  return setting => {
    const from = setting.acts.findIndex(act => act.id === id);
    const place = Math.min(setting.acts.length - 1, Math.max(0, to));
    const act = setting.acts[from];
    if (act === undefined || from === place) {
      return setting;
    }
    const acts = setting.acts.filter(one => one !== act);
    acts.splice(place, 0, act);
    return { ...setting, acts };
  };
}

/** Put an intervention on the stack, behind another one or at its end, and take it in hand. */
export function addAct(act: Act, parameter: string, behind?: string): Edit {
  return setting => {
    const acts = [...setting.acts];
    const at = acts.findIndex(one => one.id === behind);
    acts.splice(at < 0 ? acts.length : at + 1, 0, act);
    return { ...setting, acts, hand: act.id, parameter };
  };
}

/** Take an intervention off the stack; the hand goes to its neighbour. */
export function removeAct(id: string, recipes: ReadonlyMap<string, Recipe>): Edit {
  return setting => {
    const at = setting.acts.findIndex(act => act.id === id);
    if (at < 0) {
      return setting;
    }
    const acts = setting.acts.filter(act => act.id !== id);
    if (setting.hand !== id) {
      return { ...setting, acts };
    }
    const neighbour = acts[Math.min(at, acts.length - 1)];
    const parameter = neighbour === undefined ? undefined : recipes.get(neighbour.recipe)?.parameters[0];
    return { ...setting, acts, hand: neighbour?.id ?? '', parameter: parameter?.name ?? '' };
  };
}

export function changePrompt(prompt: string): Edit {
  return setting => (setting.prompt === prompt ? setting : { ...setting, prompt });
}

export function changeTurn(index: number, change: Partial<Turn>): Edit {
  return setting => ({
    ...setting,
    chat: setting.chat.map((turn, at) => (at === index ? { ...turn, ...change } : turn))
  });
}

/** Add a message; whose turn it is follows from the one before. */
export function addTurn(): Edit {
  return setting => {
    const role = setting.chat.at(-1)?.role === 'user' ? 'assistant' : 'user';
    return { ...setting, chat: [...setting.chat, { role, content: '' }] };
  };
}

export function removeTurn(index: number): Edit {
  return setting => ({ ...setting, chat: setting.chat.filter((_, at) => at !== index) });
}

/** Turn the prompt into a chat, or what was last said by the user into a prompt. */
export function asChat(on: boolean): Edit {
  return setting => {
    if (on === setting.chat.length > 0) {
      return setting;
    }
    const said = setting.chat.filter(turn => turn.role === 'user').at(-1)?.content ?? setting.prompt;
    return on
      ? { ...setting, chat: [{ role: 'user', content: setting.prompt }] }
      : { ...setting, chat: [], prompt: said };
  };
}

export function track(text: string): Edit {
  return setting =>
    text === '' || setting.tracked.includes(text) ? setting : { ...setting, tracked: [...setting.tracked, text] };
}

export function untrack(text: string): Edit {
  return setting =>
    setting.tracked.includes(text) ? { ...setting, tracked: setting.tracked.filter(one => one !== text) } : setting;
}

export function generation(change: Partial<Pick<Setting, 'max_new_tokens' | 'temperature' | 'seed'>>): Edit {
  return setting =>
    Object.entries(change).every(([name, value]) => setting[name as keyof Setting] === value)
      ? setting
      : { ...setting, ...change };
}

/** Go back to a setting that was kept. */
export function restore(kept: Setting): Edit {
  return setting => ({ ...kept, moment: setting.moment, gesture: setting.gesture });
}

/**
 * An intervention by a recipe at what is picked: the picked layer where the recipe can act there, else the layer where
 * its direction was found, else the middle one; the picked tokens, else the last.
 */
export function actFrom(recipe: Recipe, picks: Picks, layered: (component: string) => boolean, id: string): Act {
  const [layer, head] = placeOf(recipe, picks);
  const component = componentOf(recipe, head >= 0);
  const isLayered = layered(component);
  return {
    id,
    recipe: recipe.id,
    on: true,
    component,
    layer: isLayered ? layer : -1,
    head: isLayered ? head : -1,
    tokens: picks.tokens.length > 0 ? writePlace(picks.tokens) : 'last',
    steps: 'all',
    values: Object.fromEntries(recipe.parameters.map(parameter => [parameter.name, parameter.start])),
    texts: Object.fromEntries(recipe.texts.map(name => [name, '']))
  };
}

/** A picked head is found in the heads' outputs; else the likeliest is the first. */
function componentOf({ components }: Recipe, ofHead: boolean): string {
  return ofHead && components.includes('z') ? 'z' : (components[0] ?? '');
}

function placeOf(recipe: Recipe, picks: Picks): [layer: number, head: number] {
  const { layers, found } = recipe;
  const [pair] = picks.heads;
  if (pair !== undefined && layers.includes(pair[0])) {
    return [pair[0], pair[1]];
  }
  const picked = picks.layers.find(layer => layers.includes(layer));
  return [picked ?? (found >= 0 ? found : (layers[Math.floor(layers.length / 2)] ?? -1)), -1];
}

/** A name for a new intervention that no other one has, nor had: curves are found by it. */
export function freshId(): string {
  return `a${Math.random().toString(36).slice(2, 10)}`;
}
