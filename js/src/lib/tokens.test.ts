import { expect, test } from 'vitest';
import { percent, pieces, spoken, visible, writeToken } from './tokens';

test.each([
  [' March', '·March'],
  ['  a b ', '··a b·'],
  ['\n', '⏎'],
  ['a\tb', 'a⇥b'],
  ['', '∅'],
  ['   ', '···'],
  ['\u0000', '\\u0000'],
  ['a\u202eb', 'a\\u202eb'],
  ['\u200b', '\\u200b'],
  ['\u2066x\u2069', '\\u2066x\\u2069'],
  ['\ufeff', '\\ufeff'],
  ['\ud800', '\\ud800'],
  ['\u{e0041}', '\\u{e0041}'],
  ['🙂é', '🙂é'],
  ['日本', '日本']
])('%j is shown as %s', (token, shown) => expect(visible(token)).toBe(shown));

test('only stand-ins are faint', () =>
  expect(pieces(' a\n')).toEqual([
    { text: '·', faint: true },
    { text: 'a', faint: false },
    { text: '⏎', faint: true }
  ]));

test.each(['<img src=x onerror=alert(1)>', '</span><script>1</script>', '&lt;b&gt;', '"><svg onload=1>'])(
  '%s is text',
  token => {
    const element = document.createElement('b');
    writeToken(element, token);
    expect(element.textContent).toBe(token);
    expect(element.querySelectorAll('*').length).toBe(element.querySelectorAll('span').length);
  }
);

test('a token in a sentence has no spaces at its ends', () => {
  expect(spoken(' March')).toBe('March');
  expect(spoken('  ')).toBe('··');
});

test.each([
  [0.34, '34 %'],
  [0.0449, '4.5 %'],
  [0.0999, '10 %'],
  [0.0004, '<0.1 %'],
  [0, '0 %'],
  [1, '100 %'],
  [NaN, '–']
])('%d is %s', (probability, text) => expect(percent(probability)).toBe(text));
