import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { oncePerFrame, promptly } from './timing';

let life: AbortController;
let log: string[];

beforeEach(() => {
  vi.useFakeTimers();
  life = new AbortController();
  log = [];
});

afterEach(() => {
  life.abort();
  vi.useRealTimers();
});

const frame = (): void => {
  log.push('|');
  vi.advanceTimersToNextFrame();
};

test('work is done once before the next picture, however often it is asked for', () => {
  const work = oncePerFrame(() => log.push('a'), life.signal);
  work();
  work();
  frame();
  frame();
  expect(log.join('')).toBe('|a|');
});

test('what work asks for still belongs to the same picture, itself to the next', () => {
  const second = oncePerFrame(() => log.push('b'), life.signal);
  const first = oncePerFrame(() => {
    log.push('a');
    second();
    if (log.length < 5) {
      first();
    }
  }, life.signal);
  first();
  frame();
  frame();
  frame();
  expect(log.join('')).toBe('|ab|ab|');
});

test('work that fails stops no other, and is told', () => {
  const told = vi.fn();
  vi.stubGlobal('reportError', told);
  const bad = oncePerFrame(() => {
    throw new Error('no');
  }, life.signal);
  const good = oncePerFrame(() => log.push('a'), life.signal);
  bad();
  good();
  frame();
  expect(log.join('')).toBe('|a');
  expect(told).toHaveBeenCalledOnce();
  vi.unstubAllGlobals();
});

test('after the end nothing is done any more, and others go on', () => {
  const other = new AbortController();
  const ended = oncePerFrame(() => log.push('a'), life.signal);
  const lasting = oncePerFrame(() => log.push('b'), other.signal);
  ended();
  lasting();
  life.abort();
  ended();
  frame();
  expect(log.join('')).toBe('|b');
  other.abort();
});

test('promptly: the first at once, all others of a frame together', () => {
  const work = promptly(() => log.push('a'), life.signal);
  work();
  work();
  work();
  frame();
  frame();
  work();
  expect(log.join('')).toBe('a|a|a');
});
