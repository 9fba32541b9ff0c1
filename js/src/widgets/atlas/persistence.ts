/** The persistence diagram and the bar code: classes by when they are born and die, and the rows that they run through. */

import { fixed } from '../../lib/angles';
import { html, set, svg } from '../../lib/elements';
import type { Feature, Shapes } from '../../lib/protocol';
import { count, has, NOTHING, type Bits } from '../../lib/selection';
import { deathOf, isAbove, KINDS, limits, livesOn, ONE, ranked, ratioOf, ticks } from './geometry';
import { visible } from '../../lib/tokens';
import { Memo, numberOf, type Hand } from './traits';
import { chance, rows, short } from './words';

const MOST_POINTS = 600;
const MOST_BARS = [8, 14, 8] as const;
const MARGIN = { left: 44, right: 8, top: 10, bottom: 36 };
const LINE = 11;
/** Pixels from a finger to what it means. */
const FINGER_REACH = 24;
export const KEY = '■ cluster  ● loop  ▲ cavity  ┄ noise stays below; an outline: holds picked rows';

interface Marks {
  feature: Feature;
  point: SVGGElement | null;
  bar: SVGGElement | null;
}

export class Persistence {
  readonly element = html('div', { class: 'atlas-persistence' });
  readonly diagram = svg('svg', {
    class: 'atlas-drawing atlas-diagram',
    role: 'group',
    'aria-label': 'Persistence diagram'
  });
  readonly barcode = svg('svg', { class: 'atlas-drawing atlas-barcode', role: 'group', 'aria-label': 'Bar code' });

  private readonly verdict = html('p', { class: 'atlas-verdict', role: 'status' });
  private readonly note = html('p', { class: 'atlas-note' });
  private readonly told = html('p', { class: 'atlas-told', 'aria-hidden': 'true' });
  private readonly tabs: HTMLButtonElement[];
  private readonly panels: HTMLElement[];
  private readonly marks = new Map<string, Marks>();
  private readonly drawn = new Memo();
  private readonly marked = new Memo();
  private shapes: Shapes | null = null;
  private picked: Bits = NOTHING;
  private chosen: string | null = null;
  private size = { diagram: 260, barcode: 260 };
  private current = { point: '', bar: '' };
  private finger = false;

  constructor(
    private readonly hand: Hand,
    private readonly choose: (feature: Feature | null) => void,
    signal: AbortSignal
  ) {
    this.panels = [
      html('div', { class: 'atlas-panel atlas-panel-diagram' }, this.diagram),
      html('div', { class: 'atlas-panel atlas-panel-barcode' }, this.barcode)
    ];
    this.tabs = ['Diagram', 'Bar code'].map(name => html('button', { type: 'button', class: 'atlas-tab' }, name));
    this.tabs.forEach((tab, index) => {
      tab.addEventListener('click', () => this.show(index), { signal });
    });
    const words = html(
      'div',
      { class: 'atlas-words' },
      html('p', { class: 'atlas-key', 'aria-hidden': 'true' }, KEY),
      this.told
    );
    this.element.append(
      this.verdict,
      html('div', { class: 'atlas-tabs', role: 'group', 'aria-label': 'Which picture' }, ...this.tabs),
      html('div', { class: 'atlas-panels' }, ...this.panels, words),
      this.note
    );
    this.show(0);
    for (const drawing of [this.diagram, this.barcode]) {
      drawing.addEventListener('keydown', event => this.key(event), { signal });
      drawing.addEventListener('pointerdown', event => (this.finger = event.pointerType === 'touch'), { signal });
      drawing.addEventListener('click', event => this.tap(event), { signal });
      drawing.addEventListener('pointerover', event => this.lookAt(event.target), { signal });
      drawing.addEventListener('pointerleave', () => this.lookAt(null), { signal });
    }
    // a drawing that listens for focus itself would take it, and be outlined, whenever a hand comes down beside its marks
    for (const panel of this.panels) {
      panel.addEventListener('focusin', event => this.lookAt(event.target), { signal });
      panel.addEventListener('focusout', () => this.lookAt(null), { signal });
    }
  }

  /** Draw for the room that there is. */
  resize(): void {
    const [diagram, barcode] = this.panels.map(panel => panel.clientWidth);
    const size = { diagram: diagram ?? 0, barcode: barcode ?? 0 };
    const other = (['diagram', 'barcode'] as const).filter(name => size[name] > 60 && size[name] !== this.size[name]);
    if (other.length > 0) {
      this.size = { diagram: size.diagram || this.size.diagram, barcode: size.barcode || this.size.barcode };
      this.draw();
    }
  }

  update(shapes: Shapes | null, current: boolean, picked: Bits, chosen: string | null): void {
    this.element.classList.toggle('atlas-stale', !current);
    if (this.drawn.changed(shapes)) {
      this.shapes = shapes;
      this.draw();
      this.verdict.replaceChildren(...(shapes === null ? ['The shape of the cloud is not known yet.'] : told(shapes)));
      this.note.textContent = shapes?.note ?? '';
    }
    if (this.marked.changed(picked, chosen)) {
      this.picked = picked;
      this.chosen = chosen;
      this.mark();
    }
  }

  /** Mark the classes that run through a row that is under the hand somewhere else. */
  hover(row: number | null): void {
    for (const { feature, point, bar } of this.marks.values()) {
      const on = row !== null && feature.rows.includes(row);
      point?.classList.toggle('atlas-near', on);
      bar?.classList.toggle('atlas-near', on);
    }
  }

  private show(index: number): void {
    this.tabs.forEach((tab, other) => tab.setAttribute('aria-pressed', String(other === index)));
    this.element.dataset.tab = String(index);
  }

  private draw(): void {
    this.marks.clear();
    const { shapes } = this;
    for (const drawing of [this.diagram, this.barcode]) {
      drawing.replaceChildren();
    }
    if (shapes === null) {
      return;
    }
    this.drawDiagram(shapes);
    this.drawBars(shapes);
    const first = this.marks.keys().next().value ?? '';
    const kept = (id: string, part: 'point' | 'bar'): string =>
      this.marks.get(id)?.[part] === null || !this.marks.has(id) ? first : id;
    this.current = { point: kept(this.current.point, 'point'), bar: kept(this.current.bar, 'bar') };
    this.marks.get(this.current.point)?.point?.setAttribute('tabindex', '0');
    this.marks.get(this.current.bar)?.bar?.setAttribute('tabindex', '0');
    this.mark();
  }

  private drawDiagram(shapes: Shapes): void {
    const size = Math.min(this.size.diagram, 380);
    const plot = size - MARGIN.left - MARGIN.right;
    const height = plot + MARGIN.top + MARGIN.bottom;
    const { end } = shapes;
    const x = (birth: number): number => MARGIN.left + (birth / end) * plot;
    const y = (death: number): number => MARGIN.top + plot - (death / end) * plot;
    set(this.diagram, { viewBox: `0 0 ${size} ${height}`, width: size, height });
    const frame = svg('g', { 'aria-hidden': 'true' });
    for (const tick of ticks(end, plot > 200 ? 4 : 3)) {
      frame.append(
        svg('path', {
          class: 'atlas-grid',
          d: `M${fixed(x(tick))} ${MARGIN.top}V${MARGIN.top + plot}M${MARGIN.left} ${fixed(y(tick))}h${plot}`
        }),
        svg('text', { class: 'atlas-tick atlas-middle', x: x(tick), y: MARGIN.top + plot + 14 }, short(tick)),
        svg('text', { class: 'atlas-tick atlas-end', x: MARGIN.left - 5, y: y(tick) + 4 }, short(tick))
      );
    }
    const middle = MARGIN.top + plot / 2;
    frame.append(
      svg('path', { class: 'atlas-diagonal', d: `M${x(0)} ${y(0)}L${x(end)} ${y(end)}` }),
      svg(
        'text',
        { class: 'atlas-axis-title atlas-middle', x: MARGIN.left + plot / 2, y: height - 6 },
        'birth (distance)'
      ),
      svg(
        'text',
        { class: 'atlas-axis-title atlas-middle', x: 0, y: 0, transform: `translate(10 ${middle}) rotate(-90)` },
        'death (distance)'
      )
    );
    const corners = limits(shapes);
    if (corners.length > 0) {
      const path = corners.map(([birth, death]) => `${fixed(x(birth))} ${fixed(y(death))}`).join('L');
      frame.append(svg('path', { class: 'atlas-limit', d: `M${path}` }));
    }
    this.diagram.append(frame);
    const shown = [0, 2, 1].flatMap(dimension =>
      ranked(shapes.features, dimension, end).slice(0, MOST_POINTS).reverse()
    );
    for (const feature of shown) {
      const at = `translate(${fixed(x(feature.birth))} ${fixed(y(deathOf(feature, end)))})`;
      const point = svg(
        'g',
        { class: `atlas-class atlas-h${feature.dimension}`, transform: at, 'data-class': feature.id },
        svg('circle', { class: 'atlas-halo', r: 9 }),
        shapeOf(feature)
      );
      this.button(point, feature, shapes);
      this.diagram.append(point);
      this.marks.set(feature.id, { feature, point, bar: null });
    }
  }

  private drawBars(shapes: Shapes): void {
    const size = this.size.barcode;
    const plot = size - MARGIN.right - 8;
    const { end } = shapes;
    const x = (value: number): number => 4 + (value / end) * plot;
    let top = 4;
    const frame = svg('g', { 'aria-hidden': 'true' });
    const bars: SVGGElement[] = [];
    for (const dimension of [1, 2, 0] as const) {
      const all = ranked(shapes.features, dimension, end);
      const shown = all.slice(0, MOST_BARS[dimension]);
      if (shown.length === 0) {
        continue;
      }
      const more = shown.length < all.length ? `, the ${shown.length} longest of ${all.length}` : '';
      frame.append(svg('text', { class: 'atlas-bars-title', x: 4, y: top + 11 }, `${KINDS[dimension]}${more}`));
      top += 17;
      for (const feature of shown) {
        const [from, to] = [x(feature.birth), x(deathOf(feature, end))];
        const middle = top + LINE / 2;
        const lives = livesOn(feature, end)
          ? [svg('path', { class: 'atlas-lives-on', d: `M${to - 4} ${middle - 4}l5 4-5 4` })]
          : [];
        const bar = svg(
          'g',
          { class: `atlas-class atlas-h${feature.dimension}`, 'data-class': feature.id },
          svg('rect', { class: 'atlas-field', x: 0, y: top, width: size, height: LINE }),
          svg('rect', {
            class: 'atlas-halo',
            x: from - 3,
            y: middle - 5,
            width: Math.max(6, to - from + 6),
            height: 10,
            rx: 4
          }),
          barShape(dimension, from, Math.max(1.5, to - from), middle),
          ...lives
        );
        this.button(bar, feature, shapes);
        bars.push(bar);
        const marks = this.marks.get(feature.id) ?? { feature, point: null, bar: null };
        this.marks.set(feature.id, { ...marks, bar });
        top += LINE;
      }
      top += 7;
    }
    const grid = ticks(end).flatMap(tick => [
      svg('path', { class: 'atlas-grid', d: `M${fixed(x(tick))} 0V${top}` }),
      svg('text', { class: `atlas-tick ${tick === 0 ? '' : 'atlas-middle'}`, x: x(tick), y: top + 14 }, short(tick))
    ]);
    const title = svg(
      'text',
      { class: 'atlas-axis-title atlas-middle', x: 4 + plot / 2, y: top + 30 },
      'scale (distance)'
    );
    const height = top + 36;
    set(this.barcode, { viewBox: `0 0 ${size} ${height}`, width: size, height });
    this.barcode.append(svg('g', { 'aria-hidden': 'true' }, ...grid, title), frame, ...bars);
  }

  private button(element: SVGGElement, feature: Feature, shapes: Shapes): void {
    set(element, { role: 'button', tabindex: -1, 'aria-label': inWords(feature, shapes), 'aria-pressed': 'false' });
  }

  private mark(): void {
    const { picked } = this;
    const any = count(picked) > 0;
    for (const { feature, point, bar } of this.marks.values()) {
      const holds = any && feature.rows.some(row => has(picked, row));
      for (const mark of [point, bar]) {
        mark?.classList.toggle('atlas-holds', holds);
        mark?.classList.toggle('atlas-chosen', feature.id === this.chosen);
        mark?.setAttribute('aria-pressed', String(feature.id === this.chosen));
      }
    }
    this.tell(null);
  }

  private at(target: EventTarget | null): Feature | null {
    const id = target instanceof Element ? target.closest('[data-class]')?.getAttribute('data-class') : null;
    return id === null || id === undefined ? null : (this.marks.get(id)?.feature ?? null);
  }

  private lookAt(target: EventTarget | null): void {
    const feature = this.at(target);
    this.tell(feature);
    for (const [id, { point, bar }] of this.marks) {
      point?.classList.toggle('atlas-looked', id === feature?.id);
      bar?.classList.toggle('atlas-looked', id === feature?.id);
    }
    this.hand.preview(feature);
  }

  /** Say in words what is looked at, else what is chosen: a finger looks at nothing. */
  private tell(feature: Feature | null): void {
    const shown = feature ?? this.marks.get(this.chosen ?? '')?.feature ?? null;
    this.told.textContent = shown === null || this.shapes === null ? '' : inWords(shown, this.shapes);
  }

  private tap(event: MouseEvent): void {
    this.pick(this.at(event.target) ?? (this.finger ? this.nearest(event) : null));
  }

  private pick(feature: Feature | null): void {
    if (feature !== null) {
      // a second click lets go
      this.choose(feature.id === this.chosen ? null : feature);
    }
  }

  /** The class whose mark a finger came nearest to, of those within its reach. */
  private nearest({ clientX, clientY, currentTarget }: MouseEvent): Feature | null {
    const part = currentTarget === this.diagram ? 'point' : 'bar';
    let best: Feature | null = null;
    let reach = FINGER_REACH;
    for (const { feature, [part]: mark } of this.marks.values()) {
      const box = mark?.querySelector('.atlas-body')?.getBoundingClientRect();
      if (box !== undefined) {
        const dx = Math.max(box.left - clientX, 0, clientX - box.right);
        const away = Math.hypot(dx, Math.max(box.top - clientY, 0, clientY - box.bottom));
        [best, reach] = away < reach ? [feature, away] : [best, reach];
      }
    }
    return best;
  }

  private key(event: KeyboardEvent): void {
    const feature = this.at(event.target);
    if (feature === null) {
      return;
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      this.pick(feature);
    } else if (event.key === 'Escape') {
      this.choose(null);
    } else {
      const part = event.currentTarget === this.diagram ? 'point' : 'bar';
      this.walk(event, part, feature);
    }
  }

  /** Arrow keys go from loops to cavities to clusters, the longest-lived first. */
  private walk(event: KeyboardEvent, part: 'point' | 'bar', feature: Feature): void {
    const end = this.shapes?.end ?? 1;
    const all = [1, 2, 0].flatMap(dimension => ranked(this.shapes?.features ?? [], dimension, end));
    const order = all.filter(one => (this.marks.get(one.id)?.[part] ?? null) !== null);
    const at = order.findIndex(one => one.id === feature.id);
    const next = {
      ArrowDown: at + 1,
      ArrowRight: at + 1,
      ArrowUp: at - 1,
      ArrowLeft: at - 1,
      Home: 0,
      End: order.length - 1
    }[event.key];
    const other = next === undefined ? undefined : order[Math.min(order.length - 1, Math.max(0, next))];
    if (other !== undefined) {
      event.preventDefault();
      this.marks.get(feature.id)?.[part]?.setAttribute('tabindex', '-1');
      this.current[part] = other.id;
      const mark = this.marks.get(other.id)?.[part];
      mark?.setAttribute('tabindex', '0');
      mark?.focus();
    }
  }
}

function shapeOf(feature: Feature): SVGElement {
  if (feature.dimension === 0) {
    return svg('rect', { class: 'atlas-body', x: -3.5, y: -3.5, width: 7, height: 7 });
  }
  return feature.dimension === 1
    ? svg('circle', { class: 'atlas-body', r: 4.5 })
    : svg('path', { class: 'atlas-body', d: 'M0-5L5 4H-5z' });
}

/** Bars of the three dimensions differ in their ends and their weight, not in colour alone. */
function barShape(dimension: number, x: number, width: number, middle: number): SVGElement {
  const height = [3, 5, 4][dimension] ?? 4;
  const rx = dimension === 1 ? 2.5 : 0;
  return svg('rect', { class: 'atlas-body', x: fixed(x), y: middle - height / 2, width: fixed(width), height, rx });
}

/** What a class is, in words. */
export function inWords(feature: Feature, shapes: Shapes): string {
  const born = short(feature.birth);
  const dies = livesOn(feature, shapes.end) ? 'never dies' : `dies at ${short(numberOf(feature.death))}`;
  const ratio = ratioOf(feature, shapes.end);
  const factor = Number.isFinite(ratio) && feature.dimension > 0 ? `, death / birth ${short(ratio)}` : '';
  const above = feature.dimension === 1 && isAbove(feature, shapes) ? ', above what noise reaches' : '';
  const through =
    feature.rows.length > 0
      ? `, ${feature.dimension === 1 ? 'runs through' : 'holds'} ${rows(feature.rows.length)}`
      : '';
  return `${ONE[feature.dimension] ?? 'class'} ${feature.id}: born at ${born}, ${dies}${factor}${above}${through}`;
}

/** The verdict, what was found before how it is known. */
function told(shapes: Shapes): Node[] {
  const words = visible(sentence(shapes));
  const at = words.search(/[:(]/);
  const found = at < 0 ? words : words.slice(0, at);
  return [
    html('strong', {}, found.trimEnd()),
    document.createTextNode(at < 0 ? '' : words.slice(found.trimEnd().length))
  ];
}

/** The verdict with its p. */
export function sentence(shapes: Shapes): string {
  const p = chance(shapes.p);
  return p === '' || shapes.verdict.includes('p ') ? shapes.verdict : `${shapes.verdict} (${p})`;
}
