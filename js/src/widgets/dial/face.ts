/** The dial's face: the ring, its labels, the true centroids, and the hand. */

import { afterKey, angleAt, arcPath, degrees, fixed, nearest, onCircle, onScreen } from '../../lib/angles';
import { set, svg } from '../../lib/elements';
import { aroundCircle } from '../../lib/labels';
import type { Layer } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import { placeInWords, turnInWords, type Moment } from './moment';

const RADIUS = 104;
const BOX = { left: -200, top: -146, width: 400, height: 292 };
const LONGEST = 12;

export interface Hand {
  /** Move the hand to an angle. */
  to(angle: number): void;
  /** Move the hand back to where the token is. */
  home(): void;
}

export class Face {
  readonly element = svg('svg', {
    class: 'nbi-face nbi-drawing',
    viewBox: `${BOX.left} ${BOX.top} ${BOX.width} ${BOX.height}`,
    role: 'group',
    'aria-label': 'Dial'
  });

  private readonly still = svg('g');
  private readonly arc = svg('path', { class: 'nbi-arc' });
  private readonly start = svg('path', { class: 'nbi-start' });
  private readonly line = svg('line', { class: 'nbi-hand' });
  private readonly knob = svg(
    'g',
    { class: 'nbi-knob', role: 'slider', tabindex: 0, 'aria-valuemin': 0, 'aria-valuemax': 360 },
    svg('circle', { class: 'nbi-knob-halo', r: 17 }),
    svg('circle', { class: 'nbi-knob-body', r: 9 }),
    svg('circle', { class: 'nbi-knob-dot', r: 2.5 })
  );
  private readonly turn = svg('text', { class: 'nbi-turn', y: 2 });
  private readonly where = svg('text', { class: 'nbi-where', y: 22 });
  private layer: Layer | null = null;
  private moment: Moment | null = null;

  constructor(
    private readonly hand: Hand,
    private readonly look: () => Moment,
    signal: AbortSignal
  ) {
    this.element.append(
      svg('circle', { class: 'nbi-hit', r: RADIUS + 14 }),
      svg('circle', { class: 'nbi-ring', r: RADIUS }),
      svg('circle', { class: 'nbi-busy', r: RADIUS - 9 }),
      this.still,
      this.arc,
      this.start,
      this.line,
      this.turn,
      this.where,
      this.knob
    );
    this.listenToPointer(signal);
    this.knob.addEventListener('keydown', event => this.onKey(event), { signal });
  }

  update(moment: Moment): void {
    if (moment.layer !== this.layer || moment.spec.concept !== this.moment?.spec.concept) {
      this.layer = moment.layer;
      this.still.replaceChildren(...this.drawLayer(moment));
    }
    this.moment = moment;
    const { angle, start, labels } = moment;
    const inner = onCircle(angle, 44);
    const outer = onCircle(angle, RADIUS);
    set(this.line, { x1: fixed(inner.x), y1: fixed(inner.y), x2: fixed(outer.x), y2: fixed(outer.y) });
    set(this.knob, {
      transform: `translate(${fixed(outer.x)} ${fixed(outer.y)})`,
      'aria-label': `Turn along the circle of ${moment.spec.concept}`,
      'aria-valuenow': Math.round(degrees(angle)),
      'aria-valuetext': placeInWords(moment)
    });
    const words = start === null ? ['', ''] : turnInWords(labels, start, angle).split(' from ');
    this.turn.textContent = words[0] ?? '';
    this.where.textContent = words[1] ? `from ${shortened(words[1])}` : '';
    this.arc.setAttribute('d', start === null ? '' : arcPath(start, angle, RADIUS));
    this.start.setAttribute('d', start === null ? '' : diamond(start));
    this.markNearest(angle);
  }

  private drawLayer(moment: Moment): Node[] {
    const { labels } = moment;
    const places = aroundCircle(
      labels.map(label => label.angle),
      RADIUS + 16
    );
    // a label far outside the ring would lie on the text around it: then the whole shape is drawn smaller
    const farthest = Math.max(...labels.map(label => Math.hypot(label.x, label.y)));
    const corners = labels.map(label => onScreen(label, RADIUS * Math.min(1, 1.12 / farthest)));
    const outline = corners.map(corner => `${fixed(corner.x)},${fixed(corner.y)}`).join(' ');
    const shape = svg('polygon', { class: 'nbi-shape', points: outline });
    const dots = corners.map((corner, index) => {
      const dot = svg('circle', { class: 'nbi-centroid', cx: fixed(corner.x), cy: fixed(corner.y), r: 3 });
      dot.append(svg('title', {}, `where ${visible(labels[index]?.text ?? '')} truly lies`));
      return dot;
    });
    const marks = labels.map((label, index) => {
      const from = onCircle(label.angle, RADIUS + 3);
      const to = onCircle(label.angle, RADIUS + 8);
      const group = svg(
        'g',
        { class: 'nbi-label', 'data-index': index },
        svg('line', { class: 'nbi-tick', x1: fixed(from.x), y1: fixed(from.y), x2: fixed(to.x), y2: fixed(to.y) })
      );
      const at = places[index];
      if (at?.shown) {
        const attributes = { x: fixed(at.x), y: fixed(at.y), 'text-anchor': at.anchor };
        group.append(
          svg('text', attributes, shortened(visible(label.text)), svg('title', {}, `Turn to ${visible(label.text)}`))
        );
      }
      return group;
    });
    return [shape, ...dots, ...marks];
  }

  private markNearest(angle: number): void {
    const labels = this.moment?.labels ?? [];
    const near = nearest(
      labels.map(label => label.angle),
      angle
    );
    for (const group of this.still.querySelectorAll<SVGGElement>('.nbi-label')) {
      group.classList.toggle('nbi-near', Number(group.dataset.index) === near);
    }
  }

  private listenToPointer(signal: AbortSignal): void {
    const { element } = this;
    let dragged: number | null = null;
    const follow = (event: PointerEvent): void => {
      const box = element.getBoundingClientRect();
      // the drawing keeps its proportions and is centred in its box
      const scale = Math.min(box.width / BOX.width, box.height / BOX.height) || 1;
      const x = (event.clientX - box.left - box.width / 2) / scale + BOX.left + BOX.width / 2;
      const y = (event.clientY - box.top - box.height / 2) / scale + BOX.top + BOX.height / 2;
      if (Math.hypot(x, y) > 6) {
        this.hand.to(angleAt({ x, y }));
      }
    };
    const labelOf = (event: Event): number | undefined => {
      const group = (event.target as Element).closest<SVGGElement>('.nbi-label');
      return group === null ? undefined : this.moment?.labels[Number(group.dataset.index)]?.angle;
    };
    element.addEventListener(
      'pointerdown',
      event => {
        if (event.button === 0 && event.isPrimary && isOnRing(event)) {
          dragged = event.pointerId;
          element.setPointerCapture(event.pointerId);
          this.knob.focus({ preventScroll: true });
          event.preventDefault();
          follow(event);
        }
      },
      { signal }
    );
    // Chromium heeds touch-action only on the whole drawing, which would no longer scroll the page beside the ring
    element.addEventListener('touchstart', event => isOnRing(event) && event.preventDefault(), {
      signal,
      passive: false
    });
    element.addEventListener('pointermove', event => event.pointerId === dragged && follow(event), { signal });
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) {
      element.addEventListener(end, event => (dragged = event.pointerId === dragged ? null : dragged), { signal });
    }
    element.addEventListener(
      'click',
      event => {
        const angle = labelOf(event);
        if (angle !== undefined) {
          this.hand.to(angle);
          this.knob.focus({ preventScroll: true });
        }
      },
      { signal }
    );
    element.addEventListener('dblclick', event => labelOf(event) === undefined && this.hand.home(), { signal });
  }

  private onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    // two keys may come within one frame: what is drawn is older than what is set
    const { angle, labels, start } = this.look();
    const angles = labels.map(label => label.angle);
    const next = afterKey(event.key, angle, angles, start ?? angle);
    if (next !== null) {
      event.preventDefault();
      this.hand.to(next);
    }
  }
}

function isOnRing(event: Event): boolean {
  return (event.target as Element).closest('.nbi-hit, .nbi-knob') !== null;
}

function diamond(angle: number): string {
  const at = onCircle(angle, RADIUS);
  return `M${fixed(at.x)} ${fixed(at.y - 6)}l6 6l-6 6l-6 -6Z`;
}

function shortened(text: string): string {
  const characters = Array.from(text);
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join('')}…` : text;
}
