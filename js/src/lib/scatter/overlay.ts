/** What is drawn over the points as lines and text: axes, the lasso, representatives, the row under the hand. */

import { freshId, set, svg } from '../elements';
import { visible } from '../tokens';
import type { Box, Map2 } from './camera';
import { ticks } from './ticks';

export const MARGIN = { left: 54, right: 12, top: 10, bottom: 42 } as const;

/** More marks than these of a representative tell nothing more. */
const MOST_RINGS = 2000;

const pixel = (value: number): string => value.toFixed(1);

export class Overlay {
  /** Lies over the points. */
  readonly element = svg('svg', { class: 'nbi-overlay', 'aria-hidden': 'true' });
  /** Lies under them. */
  readonly below = svg('svg', { class: 'nbi-overlay', 'aria-hidden': 'true' });

  private readonly grid = svg('path', { class: 'nbi-grid' });
  private readonly frame = svg('path', { class: 'nbi-frame' });
  private readonly numbers = svg('g');
  private readonly titleX = svg('text', { class: 'nbi-axis-title' });
  private readonly titleY = svg('text', { class: 'nbi-axis-title' });
  private readonly clip = svg('rect');
  private readonly path = svg('path', { class: 'nbi-lit-path' });
  private readonly rings = svg('path', { class: 'nbi-lit' });
  private readonly lassoBelow = svg('path', { class: 'nbi-lasso nbi-below' });
  private readonly lassoPath = svg('path', { class: 'nbi-lasso' });
  /** The axes that are drawn. */
  private drawn = '';
  private readonly under = svg('circle', { class: 'nbi-under', r: 7, visibility: 'hidden' });

  constructor() {
    const id = freshId('scatter-clip');
    const inside = svg(
      'g',
      { transform: `translate(${MARGIN.left} ${MARGIN.top})`, 'clip-path': `url(#${id})` },
      this.path,
      this.rings,
      this.under,
      this.lassoBelow,
      this.lassoPath
    );
    this.below.append(this.grid, this.frame);
    this.element.append(svg('clipPath', { id }, this.clip), this.numbers, inside);
    this.element.append(this.titleX, this.titleY);
  }

  axes(view: Box, map: Map2, width: number, height: number, x: string, y: string): void {
    const wanted = JSON.stringify([view, map, width, height, x, y]);
    if (wanted === this.drawn) {
      return;
    }
    this.drawn = wanted;
    const { left, top } = MARGIN;
    const [right, bottom] = [left + width, top + height];
    for (const layer of [this.below, this.element]) {
      set(layer, { viewBox: `0 0 ${right + MARGIN.right} ${bottom + MARGIN.bottom}` });
    }
    set(this.clip, { width, height });
    const across = ticks(view.x0, view.x1, width / 90).map(tick => ({
      ...tick,
      at: left + tick.value * map.sx + map.ox
    }));
    const down = ticks(view.y0, view.y1, height / 60).map(tick => ({
      ...tick,
      at: top + tick.value * map.sy + map.oy
    }));
    const lines = [...across.map(tick => `M${pixel(tick.at)} ${top}v${height}`)];
    lines.push(...down.map(tick => `M${left} ${pixel(tick.at)}h${width}`));
    this.grid.setAttribute('d', lines.join(''));
    this.frame.setAttribute('d', `M${left} ${top}v${height}h${width}`);
    this.numbers.replaceChildren(
      ...across.map(tick =>
        svg('text', { class: 'nbi-tick nbi-across', x: pixel(tick.at), y: bottom + 16 }, tick.text)
      ),
      ...down.map(tick => svg('text', { class: 'nbi-tick nbi-down', x: left - 6, y: pixel(tick.at + 4) }, tick.text))
    );
    this.titleX.textContent = shortened(x, width / 7);
    set(this.titleX, { x: pixel(left + width / 2), y: bottom + 34 });
    this.titleY.textContent = shortened(y, height / 7);
    set(this.titleY, { transform: `translate(12 ${pixel(top + height / 2)}) rotate(-90)` });
  }

  /** Rows in pixels of the plot, joined and ringed. */
  light(places: readonly (readonly [number, number])[], closed: boolean): void {
    const known = places.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
    const points = known.map(([x, y]) => `${pixel(x)} ${pixel(y)}`);
    this.path.setAttribute('d', points.length > 1 ? `M${points.join('L')}${closed ? 'Z' : ''}` : '');
    const radius = known.length > 300 ? 3 : 5;
    const ring = ([x, y]: readonly [number, number]): string =>
      `M${pixel(x - radius)} ${pixel(y)}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
    this.rings.setAttribute('d', known.slice(0, MOST_RINGS).map(ring).join(''));
  }

  /** The outline that the hand draws, in pixels of the plot; none where it is empty. */
  lasso(outline: readonly number[]): void {
    const pairs: string[] = [];
    for (let at = 0; at + 1 < outline.length; at += 2) {
      pairs.push(`${pixel(outline[at] ?? 0)} ${pixel(outline[at + 1] ?? 0)}`);
    }
    const d = pairs.length > 1 ? `M${pairs.join('L')}Z` : '';
    this.lassoBelow.setAttribute('d', d);
    this.lassoPath.setAttribute('d', d);
  }

  /** Ring the row under the hand; none where it is null. */
  point(place: readonly [number, number] | null, keyboard: boolean): void {
    const shown = place !== null && Number.isFinite(place[0]) && Number.isFinite(place[1]);
    set(this.under, { visibility: shown ? 'visible' : 'hidden', r: keyboard ? 9 : 7 });
    if (shown) {
      set(this.under, { cx: pixel(place[0]), cy: pixel(place[1]) });
    }
    this.under.classList.toggle('nbi-keyboard', keyboard);
  }
}

function shortened(text: string, letters: number): string {
  const shown = visible(text);
  return text === ''
    ? ''
    : shown.length <= letters
      ? shown
      : `${shown.slice(0, Math.max(1, Math.floor(letters) - 1))}…`;
}
