import { expect, test } from 'vitest';
import { html } from './elements';
import { figure, replacePicture, svgAddress } from './picture';
import { LIGHT, withLiterals } from './theme';

test('a drawing survives its address, whatever is written in it', () => {
  const source = '<svg>日本 – 🙂</svg>';
  const bytes = Uint8Array.from(atob(svgAddress(source).split(',')[1]!), character => character.charCodeAt(0));
  expect(new TextDecoder().decode(bytes)).toBe(source);
});

test('what a picture says cannot become markup', () => {
  const numbers = html('table', {}, html('tr', {}, html('td', {}, '<img src=x onerror=1>')));
  const picture = figure('data:,', '"><script>1</script>', numbers);
  const parsed = new DOMParser().parseFromString(picture, 'text/html');
  expect(parsed.querySelectorAll('script').length).toBe(0);
  expect(parsed.querySelectorAll('img').length).toBe(1);
  expect(parsed.querySelector('td')?.textContent).toBe('<img src=x onerror=1>');
});

test('a new picture takes the place of the old one and leaves the rest', () => {
  const old =
    '<figure class="nbinterp-figure"><img src="old" alt="old"><details class="nbinterp-numbers">t</details></figure>';
  const kept = replacePicture(old, figure('new', 'new', null));
  expect(kept).toContain('src="new"');
  expect(kept).not.toContain('old');
  expect(kept).toContain('<details class="nbinterp-numbers">t</details>');
  expect(replacePicture('<p>only text</p>', figure('new', 'new', null))).toContain('src="new"');
});

test('a picture needs no style of the page', () =>
  expect(withLiterals('a{fill:var(--nbi-ink);stroke:var(--nbi-s1)}', LIGHT)).toBe(
    `a{fill:${LIGHT.ink};stroke:${LIGHT.series[1]!}}`
  ));
