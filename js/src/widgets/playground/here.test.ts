import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import type { Act, Recipe } from '../../lib/protocol';
import { actsHere, Here, whereWords } from './here';
import type { Moment, Picks } from './moment';

const recipe = (id: string): Recipe => ({
  ...{ id, kind: id, name: id, statement: '', components: ['resid_post', 'mlp_out', 'z'], layers: [0, 1, 2, 3] },
  ...{ found: -1, parameters: [], texts: id === 'patch' ? ['source prompt'] : [] }
});
const components = ['resid_post', 'mlp_out', 'z'].map(name => ({ name, what: '', heads: 0, layered: true }));
const picks = (change: Partial<Picks>): Picks => ({ tokens: [], layers: [], heads: [], ...change });
const moment = (change: Partial<Picks>, still = false): Moment =>
  ({
    ...{ picks: picks(change), spec: { model: 'toy', n_layers: 4, chat: false, components }, still },
    recipes: new Map(['ablate', 'patch'].map(id => [id, recipe(id)])),
    answer: { tokens: ['The', ' <b>France</b>'] }
  }) as unknown as Moment;
const place = ({ component, layer, head, tokens }: Act): unknown[] => [component, layer, head, tokens];

describe('what is picked', () => {
  it('is a layer of the stream with its tokens, or the outputs of heads', () => {
    const cell = moment({ tokens: [1], layers: [2] });
    expect(actsHere(recipe('ablate'), cell).map(place)).toEqual([['resid_post', 2, -1, '1']]);
    expect(whereWords(actsHere(recipe('ablate'), cell), cell)).toBe('resid_post.2 at “·<b>France</b>”');
    const heads = moment({
      heads: [
        [1, 3],
        [2, 0]
      ] as never,
      layers: [0]
    });
    expect(actsHere(recipe('patch'), heads).map(place)).toEqual([
      ['z', 1, 3, 'last'],
      ['z', 2, 0, 'last']
    ]);
    expect(whereWords(actsHere(recipe('patch'), heads), heads)).toBe('z.1.3, z.2.0 at the last token');
  });
  it('of many layers and tokens is each layer with all of the tokens', () => {
    const part = moment({ tokens: [0, 1], layers: [0, 1, 2] });
    expect(whereWords(actsHere(recipe('ablate'), part), part)).toBe(
      'resid_post.0, resid_post.1 and 1 more at tokens 0:2'
    );
  });
  it('is nothing without a layer, and too much beyond a dozen places', () => {
    expect(actsHere(recipe('ablate'), moment({ tokens: [1] }))).toEqual([]);
    const many = Array.from({ length: 13 }, (_, head) => [0, head] as const);
    expect(actsHere(recipe('ablate'), moment({ heads: many }))).toEqual([]);
  });
});

let life: AbortController;
beforeEach(() => void (life = new AbortController()));
afterEach(() => life.abort());

test('one click acts there; a button says where, as text; without a kernel there is none', () => {
  const put = vi.fn<(recipe: Recipe, acts: readonly Act[]) => void>();
  const here = new Here(put, life.signal);
  here.update(moment({}));
  expect(here.element.hidden).toBe(true);
  here.update(moment({ tokens: [1], layers: [2] }));
  expect(here.element.hidden).toBe(false);
  const [ablate, patch] = here.element.querySelectorAll('button');
  expect(patch!.getAttribute('aria-label')).toBe('Patch resid_post.2 at “·<b>France</b>”');
  expect(here.element.querySelector('b')).toBeNull();
  ablate!.click();
  expect(put.mock.calls[0]![0].id).toBe('ablate');
  expect(put.mock.calls[0]![1].map(place)).toEqual([['resid_post', 2, -1, '1']]);
  here.update(moment({ tokens: [1], layers: [2] }, true));
  expect(here.element.hidden).toBe(true);
});
