import { afterEach, beforeEach, expect, test } from 'vitest';
import { isDark, onThemeChange } from './theme';
import { oncePerFrame } from './timing';

let life: AbortController;
let log: string[];

beforeEach(() => {
  life = new AbortController();
  log = [];
  document.body.dataset.jpThemeLight = 'true';
});

afterEach(() => life.abort());

const frame = (): Promise<number> => new Promise(requestAnimationFrame);

/** Switch as JupyterLab's theme manager does it: the page is hidden until a frame that it asks for. */
const goDark = (): void => {
  document.body.dataset.jpThemeLight = 'false';
  document.body.hidden = true;
  requestAnimationFrame(() => (document.body.hidden = false));
};

const note = (): void => void log.push(`${isDark() ? 'dark' : 'light'}, ${document.body.hidden ? 'hidden' : 'shown'}`);

test('what is drawn anew for a theme is drawn when the page is shown, whoever waits for that frame already', async () => {
  const drawSoon = oncePerFrame(note, life.signal);
  onThemeChange(drawSoon, life.signal);
  drawSoon();
  goDark();
  for (let n = 0; n < 4; n += 1) {
    await frame();
  }
  expect(log).toEqual(['dark, hidden', 'dark, shown']);
});

test('a view that has ended hears of no theme', async () => {
  onThemeChange(note, life.signal);
  goDark();
  await Promise.resolve();
  life.abort();
  for (let n = 0; n < 3; n += 1) {
    await frame();
  }
  expect(log).toEqual([]);
});
