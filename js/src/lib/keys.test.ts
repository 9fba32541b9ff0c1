import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { keepKeys } from './keys';

let root: HTMLElement;
let life: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  root = document.createElement('div');
  root.append(document.createElement('button'), document.createElement('textarea'));
  document.body.append(root);
  life = new AbortController();
  keepKeys(root, life.signal);
});

afterEach(() => {
  life.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

/** Whether the page hears a key on its way down as one with shortcuts, and again on its way up. */
function heard(selector: string, key: string, more: KeyboardEventInit = {}): [down: boolean, up: boolean] {
  const target = root.querySelector(selector)!;
  const ways: [boolean, boolean] = [false, false];
  const down = (): void => void (ways[0] = !target.hasAttribute('data-lm-suppress-shortcuts'));
  const up = (): void => void (ways[1] = true);
  document.addEventListener('keydown', down, { capture: true });
  document.addEventListener('keydown', up);
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, ...more }));
  document.removeEventListener('keydown', down, { capture: true });
  document.removeEventListener('keydown', up);
  vi.runAllTimers();
  expect(target.hasAttribute('data-lm-suppress-shortcuts')).toBe(false);
  return ways;
}

test.each([
  ['button', 'b', {}, [false, false]],
  ['button', 'ArrowRight', {}, [false, false]],
  ['button', 'Enter', {}, [true, true]],
  ['button', 's', { ctrlKey: true }, [true, true]],
  ['textarea', 'Enter', {}, [false, false]],
  ['textarea', 'z', { metaKey: true }, [true, true]]
] as const)('on a %s, %s %o', (selector, key, more, wanted) => {
  expect(heard(selector, key, more)).toEqual(wanted);
});

test('after the end every key goes on', () => {
  life.abort();
  expect(heard('button', 'b')).toEqual([true, true]);
});
