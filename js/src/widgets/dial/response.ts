/** The response curve: what the model would say at every angle, beside a random push of the same length. */

import { fixed, nearest, normalise, TURN } from '../../lib/angles';
import { aroundOnce, lookOf, pathThrough } from '../../lib/curves';
import { set, svg } from '../../lib/elements';
import { everyLabel, withoutOverlap } from '../../lib/labels';
import type { DialSweep, Series } from '../../lib/protocol';
import { roundScale } from '../../lib/ranking';
import { percent, visible } from '../../lib/tokens';
import type { Moment } from './moment';

const MARGIN = { left: 44, right: 34, top: 34, between: 46, bottom: 24 };
const PANEL = 92;
export const RESPONSE_HEIGHT = MARGIN.top + PANEL + MARGIN.between + PANEL + MARGIN.bottom;

const PANELS = [
  { run: 'turned', caption: 'turned along the circle', top: MARGIN.top, labels: Infinity },
  { run: 'control', caption: 'random direction, same length', top: MARGIN.top + PANEL + MARGIN.between, labels: 2 }
] as const;

export class Response {
  readonly element = svg('svg', { class: 'nbi-response nbi-drawing', role: 'img', height: RESPONSE_HEIGHT });

  private readonly still = svg('g');
  private readonly cursor = svg('path', { class: 'nbi-cursor' });
  private width = 720;
  private drawn: unknown[] = [];

  constructor() {
    this.element.append(this.still, this.cursor);
  }

  /** The angle at a horizontal place in the drawing. */
  angleAt(x: number): number {
    const across = (x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return Math.min(1, Math.max(0, across)) * TURN;
  }

  resize(width: number, moment: Moment): void {
    if (width > 0 && Math.abs(width - this.width) >= 1) {
      this.width = width;
      this.update(moment);
    }
  }

  update(moment: Moment): void {
    const inputs = [moment.sweep, moment.layer, moment.start, this.width];
    if (inputs.some((input, index) => input !== this.drawn[index])) {
      this.drawn = inputs;
      set(this.element, { viewBox: `0 0 ${this.width} ${RESPONSE_HEIGHT}`, 'aria-label': describe(moment) });
      this.still.replaceChildren(...this.draw(moment));
    }
    const x = fixed(this.x(moment.angle));
    this.cursor.setAttribute('d', PANELS.map(panel => `M${x} ${panel.top}v${PANEL}`).join(''));
  }

  private x(angle: number): number {
    return MARGIN.left + (angle / TURN) * (this.width - MARGIN.left - MARGIN.right);
  }

  private draw(moment: Moment): Node[] {
    const { sweep } = moment;
    const highest = Math.max(0, ...(sweep?.series ?? []).flatMap(series => [...series.turned, ...series.control]));
    const scale = roundScale(highest);
    const nodes = PANELS.flatMap(panel => {
      const y = (value: number): number => panel.top + PANEL * (1 - value / scale);
      const frame = this.drawFrame(panel.top, panel.caption, scale, moment);
      return sweep === null ? frame : [...frame, ...this.drawSeries(sweep, panel.run, panel.labels, y, scale)];
    });
    if (sweep === null || sweep.angles.length === 0) {
      const [x, y] = [this.width / 2, MARGIN.top + PANEL / 2 + 4];
      nodes.push(svg('text', { class: 'nbi-empty', x, y }, 'the response over the whole turn appears here'));
    }
    return [...nodes, ...this.drawLabels(moment)];
  }

  private drawFrame(top: number, caption: string, scale: number, moment: Moment): Node[] {
    const right = this.width - MARGIN.right;
    const lines = [0, 0.5, 1].flatMap(share => {
      const y = top + PANEL * (1 - share);
      const kind = share === 0 ? 'nbi-axis' : 'nbi-grid';
      return [
        svg('line', { class: kind, x1: MARGIN.left, x2: right, y1: y, y2: y }),
        svg('text', { class: 'nbi-scale', x: MARGIN.left - 7, y: y + 4 }, `${Math.round(scale * share * 100)} %`)
      ];
    });
    const title = svg('text', { class: 'nbi-caption', x: MARGIN.left, y: top - 20 }, caption);
    if (moment.start === null) {
      return [...lines, title];
    }
    const x = fixed(this.x(normalise(moment.start)));
    return [...lines, title, svg('path', { class: 'nbi-start-line', d: `M${x} ${top}v${PANEL}` })];
  }

  private drawSeries(
    sweep: DialSweep,
    run: 'turned' | 'control',
    limit: number,
    y: (value: number) => number,
    scale: number
  ): Node[] {
    const curves = sweep.series.map((series, index) => {
      const look = lookOf(index);
      const samples = aroundOnce(sweep.angles, series[run]);
      const d = pathThrough(samples, angle => this.x(angle), y);
      return svg('path', { class: 'nbi-curve', d, style: `stroke:${look.colour}`, 'stroke-dasharray': look.dashes });
    });
    const peaks = sweep.series.flatMap((series, index) => this.peakOf(sweep, series, index, run, y, scale));
    const names = withoutOverlap(peaks, 13, limit).map(peak => {
      const text = visible(sweep.series[peak.index]?.text ?? '').replace(/^·/, '');
      const style = `fill:${lookOf(peak.index).colour}`;
      return svg('text', { class: 'nbi-peak', x: fixed(peak.x), y: fixed(peak.y), style }, text);
    });
    return [...curves, ...names];
  }

  private peakOf(
    sweep: DialSweep,
    series: Series,
    index: number,
    run: 'turned' | 'control',
    y: (value: number) => number,
    scale: number
  ): { index: number; x: number; y: number; width: number }[] {
    const highest = Math.max(0, ...series[run]);
    const angle = sweep.angles[series[run].indexOf(highest)];
    if (angle === undefined || highest < 0.08 * scale) {
      return [];
    }
    const width = visible(series.text).length * 6.6 + 8;
    const least = MARGIN.left + width / 2;
    const most = this.width - MARGIN.right - width / 2;
    return [{ index, x: Math.min(most, Math.max(least, this.x(normalise(angle)))), y: y(highest) - 5, width }];
  }

  private drawLabels(moment: Moment): Node[] {
    const { labels } = moment;
    const first = labels[0];
    if (first === undefined) {
      return [];
    }
    const around = [...labels, { ...first, angle: TURN }];
    const texts = labels.map(label => visible(label.text));
    const every = everyLabel(texts, this.width - MARGIN.left - MARGIN.right);
    const bottom = MARGIN.top + PANEL + MARGIN.between + PANEL;
    return around.flatMap((label, index) => {
      const x = fixed(this.x(label.angle));
      const ticks = PANELS.map(panel => `M${x} ${panel.top + PANEL}v4`).join('');
      const tick = svg('path', { class: 'nbi-axis', d: ticks });
      // the first label closes the circle at the right end, if there is room for it
      const shown = index % every === 0 && (index < labels.length || labels.length % every === 0);
      const text = visible(label.text);
      return shown ? [tick, svg('text', { class: 'nbi-below', x, y: bottom + 17 }, text)] : [tick];
    });
  }
}

/** The likeliest tokens at the sample next to an angle; null where the sweep has not been near it. */
export function sampleAt(sweep: DialSweep, angle: number): { angle: number; rows: Series[]; index: number } | null {
  const index = nearest(sweep.angles, angle);
  const at = sweep.angles[index];
  const step = TURN / Math.max(1, sweep.total);
  if (at === undefined || Math.abs(Math.sin((at - angle) / 2)) > Math.sin(Math.min(step * 1.3, Math.PI) / 2)) {
    return null;
  }
  const rows = [...sweep.series].sort((a, b) => (b.turned[index] ?? 0) - (a.turned[index] ?? 0)).slice(0, 4);
  return { angle: at, rows, index };
}

function describe(moment: Moment): string {
  const { sweep } = moment;
  if (sweep === null || sweep.angles.length === 0) {
    return 'Response over the whole turn: nothing yet';
  }
  const highest = (run: 'turned' | 'control'): string => {
    const best = sweep.series
      .map(series => ({ text: series.text, value: Math.max(0, ...series[run]) }))
      .sort((a, b) => b.value - a.value)[0];
    return best === undefined ? 'nothing' : `${visible(best.text)} up to ${percent(best.value)}`;
  };
  const done = `${sweep.angles.length} of ${sweep.total} angles`;
  return `Response over the whole turn, ${done}. Along the circle: ${highest('turned')}. Random direction: ${highest('control')}.`;
}
