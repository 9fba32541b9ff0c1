/** The dose-response curve of the slider in hand; its marker is that slider once more. */

import { fixed } from '../../lib/angles';
import { lookOf } from '../../lib/curves';
import { html, set, svg } from '../../lib/elements';
import { inPi, interpolate, linePath, place, spread, ticks, turnTicks, valueAtPlace, type Scale } from '../../lib/plot';
import type { Curve, Parameter, Response, Setting } from '../../lib/protocol';
import { roundScale } from '../../lib/ranking';
import { onStep, written } from '../../lib/controls';
import { acrossDrawing, Readout } from '../../lib/readout';
import { percent, visible } from '../../lib/tokens';
import { decimal } from './answer';
import { changeValue } from './edits';
import type { Hand } from './hand';
import { curveOf, inHand, siteOf, type Moment } from './moment';

const MARGIN = { left: 46, right: 92, top: 20, bottom: 38 };
export const DOSE_HEIGHT = 262;
const LINES = 6;
const LONGEST = 11;

export type Quantity = 'probability' | 'difference';

/** The lines that are drawn: the tokens that are followed, then those that the curve moves most. */
export function chosenLines(curve: Curve, tracked: readonly string[], quantity: Quantity): Response[] {
  if (quantity === 'difference') {
    return curve.difference;
  }
  const highest = (one: Response): number => Math.max(one.base, 0, ...one.changed);
  const followed = tracked.flatMap(text => curve.series.find(one => one.text === text) ?? []);
  const others = curve.series.filter(one => !tracked.includes(one.text)).sort((a, b) => highest(b) - highest(a));
  return [...followed, ...others.filter(one => highest(one) >= 0.01)].slice(0, Math.max(LINES, followed.length));
}

export class Dose {
  readonly element = html('section', { class: 'nbi-dose', role: 'group', 'aria-label': 'Dose-response curve' });
  readonly drawing = svg('svg', { class: 'nbi-plot nbi-drawing', role: 'img', height: DOSE_HEIGHT });

  private readonly title = html('h2', { class: 'nbi-heading' }, 'Dose-response');
  private readonly what = html('p', { class: 'nbi-dose-what' });
  private readonly note = html('p', { class: 'nbi-dose-note' });
  private readonly quantities = html('div', {
    class: 'nbi-segments',
    role: 'radiogroup',
    'aria-label': 'What is drawn'
  });
  private readonly still = svg('g');
  private readonly hover = svg('path', { class: 'nbi-hover-line' });
  private readonly marker = svg('g', { class: 'nbi-marker' });
  private readonly readout = new Readout();
  private readonly box = html('div', { class: 'nbi-plot-box' }, this.drawing, this.readout.element);
  private readonly inputs: Record<Quantity, HTMLInputElement>;
  private readonly colours = new Map<string, number>();
  private width = 520;
  private moment: Moment | null = null;
  private drawn: unknown[] = [];
  private quantity: Quantity = 'probability';
  /** What each recent setting's curve depends on, by its moment; and what each curve was computed for. */
  private readonly worlds = new Map<number, string>();
  private readonly curveWorlds = new Map<string, string>();

  constructor(
    private readonly hand: Hand,
    id: string,
    signal: AbortSignal
  ) {
    const radio = (quantity: Quantity, text: string): HTMLInputElement => {
      const input = html('input', { type: 'radio', name: `${id}-quantity`, value: quantity, class: 'nbi-hidden' });
      input.checked = quantity === this.quantity;
      input.addEventListener(
        'change',
        () => {
          this.quantity = quantity;
          this.redraw();
        },
        { signal }
      );
      this.quantities.append(html('label', { class: 'nbi-segment' }, input, html('span', {}, text)));
      return input;
    };
    this.inputs = {
      probability: radio('probability', 'probability'),
      difference: radio('difference', 'logit difference')
    };
    this.drawing.append(this.still, this.hover, this.marker);
    const key = html(
      'p',
      { class: 'nbi-plot-key' },
      html('span', { class: 'nbi-key-line nbi-key-changed' }),
      'changed ',
      html('span', { class: 'nbi-key-line nbi-key-control' }),
      'random direction ',
      html('span', { class: 'nbi-key-line nbi-key-base' }),
      'base'
    );
    this.element.append(
      html('div', { class: 'nbi-heading-line' }, this.title, this.quantities),
      this.what,
      this.box,
      html('div', { class: 'nbi-plot-foot' }, key, this.note)
    );
    this.listenToPointer(signal);
  }

  /** How wide there is room for the plot; told by the widget's observer. */
  resize(): void {
    const width = this.box.clientWidth;
    if (width > 0 && Math.abs(width - this.width) >= 1) {
      this.width = width;
      this.redraw();
    }
  }

  update(moment: Moment): void {
    this.moment = moment;
    this.redraw();
    this.element.classList.toggle('nbi-outdated', this.isOutdated(moment));
  }

  /**
   * Whether the curve was computed for another prompt, stack or seed than what is set now. The curve's key is Python's
   * secret; but a curve comes after the answer to the setting that it was computed for.
   */
  private isOutdated(moment: Moment): boolean {
    const { curve } = this;
    const { setting, answer, still } = moment;
    const world = worldOf(setting);
    this.worlds.set(setting.moment, world);
    for (const old of [...this.worlds.keys()].slice(0, -100)) {
      this.worlds.delete(old);
    }
    if (curve === null || still) {
      return false;
    }
    const name = `${curve.act} ${curve.parameter} ${curve.key}`;
    const answered = this.worlds.get(answer?.moment ?? -1);
    if (!this.curveWorlds.has(name) && answered !== undefined) {
      this.curveWorlds.set(name, answered);
    }
    return this.curveWorlds.get(name) !== world;
  }

  private get curve(): Curve | null {
    const { moment } = this;
    return moment === null ? null : curveOf(moment.curves, moment.setting.hand, moment.setting.parameter);
  }

  private redraw(): void {
    const { moment, curve } = this;
    if (moment === null) {
      return;
    }
    // without an intervention there is no slider to draw a curve for
    this.element.hidden = moment.setting.acts.length === 0;
    const held = inHand(moment);
    const hasDifference = (curve?.difference.length ?? 0) > 0;
    this.inputs.difference.disabled = !hasDifference;
    this.inputs.difference.parentElement?.setAttribute('title', hasDifference ? '' : 'Track two tokens to see it');
    const quantity = hasDifference ? this.quantity : 'probability';
    this.inputs[quantity].checked = true;
    const { parameter } = held ?? {};
    const inputs = [
      curve,
      moment.setting.tracked,
      parameter,
      this.width,
      quantity,
      held?.act.on,
      held?.act.component,
      held?.act.layer
    ];
    if (inputs.some((input, index) => input !== this.drawn[index]) || this.drawn.length === 0) {
      this.drawn = inputs;
      set(this.drawing, { viewBox: `0 0 ${this.width} ${DOSE_HEIGHT}`, 'aria-label': describe(moment, curve) });
      this.what.textContent =
        held === null
          ? ''
          : `${visible(held.recipe.name)} at ${siteOf(held.act)}${held.act.on ? '' : ', as if it were on'}`;
      const lines = curve === null ? [] : chosenLines(curve, moment.setting.tracked, quantity);
      this.paint(lines.map(one => one.text));
      this.still.replaceChildren(...this.draw(held?.parameter ?? null, curve, lines, quantity));
    }
    const total = curve?.total ?? 0;
    const growing = curve !== null && curve.values.length < total && !moment.still;
    this.note.textContent = growing ? `${curve.values.length} of ${total} values` : '';
    this.placeMarker(held?.act.values[held.parameter.name], held?.parameter ?? null, curve, quantity);
  }

  /** A line keeps its colour as long as it is drawn. */
  private paint(texts: readonly string[]): void {
    for (const text of this.colours.keys()) {
      if (!texts.includes(text)) {
        this.colours.delete(text);
      }
    }
    for (const text of texts) {
      const taken = new Set(this.colours.values());
      let index = this.colours.get(text) ?? 0;
      while (!this.colours.has(text) && taken.has(index)) {
        index += 1;
      }
      this.colours.set(text, index);
    }
  }

  private x(parameter: Parameter): Scale {
    return { low: parameter.low, high: parameter.high, from: MARGIN.left, to: this.width - MARGIN.right };
  }

  private y(lines: readonly Response[], quantity: Quantity): Scale {
    const ends = { from: DOSE_HEIGHT - MARGIN.bottom, to: MARGIN.top };
    const all = lines.flatMap(one => [one.base, ...one.changed, ...one.control]).filter(Number.isFinite);
    if (quantity === 'probability') {
      return { low: 0, high: roundScale(Math.max(0.1, ...all)), ...ends };
    }
    const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
    const pad = 0.06 * (high - low || 1);
    return { low: low - pad, high: high + pad, ...ends };
  }

  private draw(
    parameter: Parameter | null,
    curve: Curve | null,
    lines: readonly Response[],
    quantity: Quantity
  ): Node[] {
    const frame = this.drawFrame(parameter, this.y(lines, quantity), quantity);
    if (parameter === null || curve === null || curve.values.length === 0) {
      const text = this.emptyWords(parameter);
      const at = { x: (MARGIN.left + this.width - MARGIN.right) / 2, y: DOSE_HEIGHT / 2 - 8 };
      return [...frame, svg('text', { class: 'nbi-empty', ...at }, text)];
    }
    const [xs, ys] = [this.x(parameter), this.y(lines, quantity)];
    const x = (value: number): number => place(xs, value);
    const y = (value: number): number => place(ys, value);
    const style = (one: Response): string => `stroke:${lookOf(this.colours.get(one.text) ?? 0).colour}`;
    const ghosts = lines.map(one =>
      svg('path', { class: 'nbi-curve nbi-ghost', d: linePath(curve.values, one.control, x, y), style: style(one) })
    );
    const bases = lines.map(one => {
      const at = fixed(y(one.base));
      return svg('path', { class: 'nbi-base-tick', d: `M${MARGIN.left} ${at}h11`, style: style(one) });
    });
    const curves = lines.map(one =>
      svg('path', { class: 'nbi-curve', d: linePath(curve.values, one.changed, x, y), style: style(one) })
    );
    return [...frame, ...ghosts, ...bases, ...curves, ...this.drawNames(curve, lines, ys, quantity)];
  }

  private emptyWords(parameter: Parameter | null): string {
    const { moment } = this;
    if (moment?.still === true) {
      return 'no curve was stored for this slider';
    }
    return parameter === null ? 'move a slider: its curve is drawn here' : 'the curve is on its way';
  }

  private drawFrame(parameter: Parameter | null, ys: Scale, quantity: Quantity): Node[] {
    const [left, right, bottom] = [MARGIN.left, this.width - MARGIN.right, DOSE_HEIGHT - MARGIN.bottom];
    const levels = quantity === 'probability' ? [0, 0.5, 1].map(share => share * ys.high) : ticks(ys.low, ys.high, 4);
    const nodes: Node[] = levels.flatMap(level => {
      const at = fixed(place(ys, level));
      const text =
        quantity === 'probability' ? `${Math.round(level * 100)} %` : decimal(level, Number.isInteger(level) ? 0 : 1);
      return [
        svg('line', { class: level === 0 ? 'nbi-axis' : 'nbi-grid', x1: left, x2: right, y1: at, y2: at }),
        svg('text', { class: 'nbi-scale', x: left - 7, y: fixed(place(ys, level) + 4) }, text)
      ];
    });
    if (parameter === null) {
      return nodes;
    }
    const xs = this.x(parameter);
    const angles = parameter.unit === 'rad';
    const marks = angles
      ? turnTicks(parameter.low, parameter.high)
      : ticks(parameter.low, parameter.high, Math.max(4, (right - left) / 70));
    for (const mark of marks) {
      const at = fixed(place(xs, mark));
      const text = angles ? inPi(mark) : String(mark).replace('-', '−');
      nodes.push(svg('path', { class: 'nbi-axis', d: `M${at} ${bottom}v4` }));
      nodes.push(svg('text', { class: 'nbi-below', x: at, y: bottom + 16 }, text));
    }
    const home = fixed(place(xs, parameter.home));
    nodes.push(svg('path', { class: 'nbi-start-line', d: `M${home} ${MARGIN.top}V${bottom}` }));
    const unit = parameter.unit === '' ? '' : ` (${parameter.unit})`;
    const label = visible(`${parameter.name}${unit}`);
    nodes.push(svg('text', { class: 'nbi-axis-name', x: (left + right) / 2, y: DOSE_HEIGHT - 5 }, label));
    return nodes;
  }

  private drawNames(curve: Curve, lines: readonly Response[], ys: Scale, quantity: Quantity): Node[] {
    const right = this.width - MARGIN.right;
    const last = Math.max(...curve.values);
    const ends = lines.map(one => place(ys, interpolate(curve.values, one.changed, last)));
    const places = spread(ends, 14, MARGIN.top + 2, DOSE_HEIGHT - MARGIN.bottom + 2);
    return lines.flatMap((one, index) => {
      const { colour } = lookOf(this.colours.get(one.text) ?? 0);
      const [from, to] = [ends[index] ?? 0, places[index] ?? 0];
      const text = quantity === 'difference' ? 'difference' : shortened(visible(one.text).replace(/^·/, ''));
      return [
        svg('path', {
          class: 'nbi-leader',
          d: `M${right + 2} ${fixed(from)}L${right + 9} ${fixed(to)}`,
          style: `stroke:${colour}`
        }),
        svg('text', { class: 'nbi-line-name', x: right + 12, y: fixed(to + 4), style: `fill:${colour}` }, text)
      ];
    });
  }

  private placeMarker(
    value: number | undefined,
    parameter: Parameter | null,
    curve: Curve | null,
    quantity: Quantity
  ): void {
    if (value === undefined || parameter === null || this.moment === null) {
      this.marker.replaceChildren();
      return;
    }
    const x = place(this.x(parameter), value);
    const [top, bottom] = [MARGIN.top, DOSE_HEIGHT - MARGIN.bottom];
    const lines = curve === null ? [] : chosenLines(curve, this.moment.setting.tracked, quantity);
    const ys = this.y(lines, quantity);
    const dots = lines.map(one => {
      const y = place(ys, interpolate(curve?.values ?? [], one.changed, value));
      const style = `fill:${lookOf(this.colours.get(one.text) ?? 0).colour}`;
      return Number.isFinite(y)
        ? [svg('circle', { class: 'nbi-marker-dot', cx: fixed(x), cy: fixed(y), r: 3.5, style })]
        : [];
    });
    this.marker.replaceChildren(
      svg('path', { class: 'nbi-cursor', d: `M${fixed(x)} ${top}V${bottom}` }),
      svg('path', { class: 'nbi-marker-knob', d: `M${fixed(x)} ${top + 4}l-6.5 -8.5v-5h13v5z` }),
      ...dots.flat()
    );
  }

  private listenToPointer(signal: AbortSignal): void {
    const move = (x: number, start: boolean): void => {
      const held = this.moment === null ? null : inHand(this.moment);
      if (held !== null && !(this.moment?.still === true && this.curve === null)) {
        const value = onStep(valueAtPlace(this.x(held.parameter), x), held.parameter);
        this.hand.edit(changeValue(held.act.id, held.parameter.name, value), start);
      }
    };
    acrossDrawing(this.drawing, move, x => this.show(x), signal);
  }

  /** The numbers of the sample next to the pointer. */
  private show(x: number | null): void {
    const { moment, curve } = this;
    const held = moment === null ? null : inHand(moment);
    if (x === null || moment === null || held === null || curve === null || curve.values.length === 0) {
      this.readout.hide();
      this.hover.setAttribute('d', '');
      return;
    }
    const quantity = this.inputs.difference.checked ? 'difference' : 'probability';
    const wanted = valueAtPlace(this.x(held.parameter), x);
    const at = curve.values.reduce((best, value) =>
      Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best
    );
    const index = curve.values.indexOf(at);
    const say = (value = NaN): string => (quantity === 'probability' ? percent(value) : decimal(value));
    const rows = [...chosenLines(curve, moment.setting.tracked, quantity)]
      .sort((a, b) => (b.changed[index] ?? 0) - (a.changed[index] ?? 0))
      .map(one => ({
        text: quantity === 'difference' ? 'difference' : one.text,
        cells: [
          ['base', say(one.base)],
          ['changed', say(one.changed[index])],
          ['control', say(one.control[index])]
        ] as const
      }));
    const heads = [`${visible(held.parameter.name)} ${written(at, held.parameter.step)}`, 'base', 'changed', 'random'];
    const across = place(this.x(held.parameter), at);
    this.readout.show(heads, rows, across);
    this.hover.setAttribute('d', `M${fixed(across)} ${MARGIN.top}V${DOSE_HEIGHT - MARGIN.bottom}`);
  }
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

/** What the plot says, for those who cannot see it. */
export function describe(moment: Moment, curve: Curve | null): string {
  const held = inHand(moment);
  if (held === null || curve === null || curve.values.length === 0) {
    return 'Dose-response curve: nothing yet';
  }
  const { parameter, recipe } = held;
  const [low, high] = [Math.min(...curve.values), Math.max(...curve.values)];
  const ends = chosenLines(curve, moment.setting.tracked, 'probability')
    .slice(0, 3)
    .map(one => {
      const say = (of: readonly number[], at: number): string => percent(interpolate(curve.values, of, at));
      const changed = `from ${say(one.changed, low)} to ${say(one.changed, high)}`;
      return `${visible(one.text).slice(0, 40)} ${changed}, base ${percent(one.base)}, random direction ${say(one.control, low)} to ${say(one.control, high)}`;
    });
  const range = `${parameter.name} from ${written(low, parameter.step)} to ${written(high, parameter.step)}`;
  return visible(`Dose-response of ${recipe.name}, ${range}: ${ends.join('; ')}.`);
}

/** All that the curve of the slider in hand depends on, but that slider. */
function worldOf({ prompt, chat, acts, tracked, seed, hand, parameter }: Setting): string {
  const others = acts.map(act =>
    act.id === hand ? { ...act, on: true, values: { ...act.values, [parameter]: 0 } } : act
  );
  return JSON.stringify([prompt, chat, others.filter(act => act.on), tracked, seed, hand, parameter]);
}
