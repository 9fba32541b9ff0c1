import { describe, expect, test } from 'vitest';
import type { Act, Recipe, Setting } from '../../lib/protocol';
import * as edits from './edits';
import type { Picks } from './moment';

function act(id: string, change: Partial<Act> = {}): Act {
  const place = { component: 'resid_post', layer: 3, head: -1, tokens: 'last', steps: 'all' };
  return { id, recipe: 'steer', on: true, ...place, values: { scale: 1 }, texts: { prompt: '' }, ...change };
}

function recipe(change: Partial<Recipe> = {}): Recipe {
  const scale = { name: 'scale', low: -4, high: 4, step: 0.1, home: 0, start: 1.5, unit: 'times' };
  const words = { id: 'steer', kind: 'Steer', name: 'Steer', statement: '' };
  const place = { components: ['resid_post', 'embed', 'z'], layers: [0, 1, 2, 3, 4, 5, 6, 7], found: 6 };
  return { ...words, ...place, parameters: [scale], texts: ['source prompt'], ...change };
}

const RECIPES = new Map([['steer', recipe()]]);
const NO_PICKS: Picks = { tokens: [], layers: [], heads: [] };

function setting(change: Partial<Setting> = {}): Setting {
  const counters = { moment: 7, gesture: 3, seed: 0, max_new_tokens: 20, temperature: 0 };
  const said = { prompt: 'Go on', chat: [], tracked: [' a'] };
  return { ...counters, ...said, acts: [act('a'), act('b'), act('c')], hand: 'a', parameter: 'scale', ...change };
}

const ids = (of: Setting): string[] => of.acts.map(one => one.id);

describe('counters', () => {
  test('a drag is one gesture of many moments', () => {
    const first = edits.next(setting(), edits.changeValue('a', 'scale', 2), true);
    const second = edits.next(first, edits.changeValue('a', 'scale', 3), false);
    expect([first.moment, first.gesture, second.moment, second.gesture]).toEqual([8, 4, 9, 4]);
  });

  test('what changes nothing is no step', () => {
    const before = setting();
    const nothing = [
      edits.changeValue('a', 'scale', 1),
      edits.changeValue('gone', 'scale', 1),
      edits.changeAct('a', { tokens: 'last' }),
      edits.changeText('a', 'prompt', ''),
      edits.moveAct('a', -1),
      edits.removeAct('gone', RECIPES),
      edits.changePrompt('Go on'),
      edits.track(' a'),
      edits.track(''),
      edits.untrack(' b'),
      edits.asChat(false),
      edits.takeInHand('a', 'scale'),
      edits.generation({ seed: 0 })
    ];
    for (const edit of nothing) {
      expect(edits.next(before, edit, true)).toBe(before);
    }
  });

  test('no edit changes the setting that it was given', () => {
    const before = setting();
    const frozen = structuredClone(before);
    for (const edit of [
      edits.changeValue('b', 'scale', 2),
      edits.moveAct('a', 2),
      edits.addAct(act('d'), 'scale'),
      edits.removeAct('a', RECIPES),
      edits.addTurn(),
      edits.asChat(true),
      edits.track(' b'),
      edits.changeText('a', 'prompt', 'x')
    ]) {
      edit(before);
    }
    expect(before).toEqual(frozen);
  });
});

describe('the stack', () => {
  test('a slider that moves is in hand', () => {
    const after = edits.changeValue('b', 'scale', 2)(setting());
    expect([after.hand, after.parameter, after.acts[1]?.values.scale]).toEqual(['b', 'scale', 2]);
  });

  test('moving keeps all others in order and stays inside', () => {
    expect(ids(edits.moveAct('a', 1)(setting()))).toEqual(['b', 'a', 'c']);
    expect(ids(edits.moveAct('c', 0)(setting()))).toEqual(['c', 'a', 'b']);
    expect(ids(edits.moveAct('b', 99)(setting()))).toEqual(['a', 'c', 'b']);
  });

  test('a copy goes behind what it was made from, and is in hand', () => {
    const after = edits.addAct(act('new'), 'scale', 'a')(setting());
    expect([ids(after), after.hand]).toEqual([['a', 'new', 'b', 'c'], 'new']);
  });

  test('when the one in hand goes, its neighbour is taken up', () => {
    expect(edits.removeAct('a', RECIPES)(setting()).hand).toBe('b');
    expect(edits.removeAct('c', RECIPES)(setting({ hand: 'c' })).hand).toBe('b');
    const alone = edits.removeAct('a', RECIPES)(setting({ acts: [act('a')] }));
    expect([alone.hand, alone.parameter, alone.acts]).toEqual(['', '', []]);
    expect(edits.removeAct('b', RECIPES)(setting()).hand).toBe('a');
  });
});

describe('a new intervention', () => {
  const layered = (component: string): boolean => component !== 'embed';
  const make = (picks: Partial<Picks>, change: Partial<Recipe> = {}): Act =>
    edits.actFrom(recipe(change), { ...NO_PICKS, ...picks }, layered, 'x');

  test('goes to what is picked', () => {
    expect(make({ tokens: [4, 2, 3], layers: [5] })).toMatchObject({
      component: 'resid_post',
      layer: 5,
      tokens: '2:5'
    });
  });

  test('else to where its direction was found, or the middle, on the last token', () => {
    expect(make({})).toMatchObject({
      layer: 6,
      tokens: 'last',
      values: { scale: 1.5 },
      texts: { 'source prompt': '' }
    });
    expect(make({}, { found: -1 }).layer).toBe(4);
  });

  test('a picked layer where it cannot act means nothing', () => {
    expect(make({ layers: [12] }).layer).toBe(6);
  });

  test('a picked head is acted on at its output', () => {
    expect(make({ heads: [[2, 1]] })).toMatchObject({ component: 'z', layer: 2, head: 1 });
  });

  test('a component outside the layers has none', () => {
    expect(make({ layers: [5] }, { components: ['embed'] })).toMatchObject({ component: 'embed', layer: -1, head: -1 });
  });
});

test('a prompt becomes a chat and comes back', () => {
  const chat = edits.asChat(true)(setting());
  expect(chat.chat).toEqual([{ role: 'user', content: 'Go on' }]);
  const longer = edits.changeTurn(1, { content: 'Gladly' })(edits.addTurn()(chat));
  expect(longer.chat[1]).toEqual({ role: 'assistant', content: 'Gladly' });
  expect(edits.asChat(false)(longer)).toMatchObject({ chat: [], prompt: 'Go on' });
  expect(
    edits
      .removeTurn(0)(longer)
      .chat.map(turn => turn.role)
  ).toEqual(['assistant']);
});

test('what is restored goes on counting', () => {
  const after = edits.next(setting(), edits.restore(setting({ moment: 1, gesture: 1, prompt: 'Before' })), true);
  expect([after.prompt, after.moment, after.gesture]).toEqual(['Before', 8, 4]);
});
