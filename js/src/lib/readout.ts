/** What the pointer does on a plot of curves: read the numbers there, and move what is in hand. */

import { html } from './elements';
import './readout.css';
import { writeToken } from './tokens';

/** A curve's numbers under the pointer, each with the run that it belongs to. */
export interface ReadoutRow {
  text: string;
  cells: readonly (readonly [run: string, said: string])[];
}

const LONGEST = 24;
const BESIDE = 14;

/** A small table beside the pointer, within the box that it stands in. */
export class Readout {
  readonly element = html('div', { class: 'nbi-readout', 'aria-hidden': 'true', hidden: '' });

  show(heads: readonly string[], rows: readonly ReadoutRow[], x: number): void {
    const lines = rows.map(({ text, cells }) => {
      const name = html('th', { scope: 'row', class: 'nbi-token' });
      writeToken(name, text.slice(0, LONGEST));
      return html('tr', {}, name, ...cells.map(([run, said]) => html('td', { class: `nbi-of-${run}` }, said)));
    });
    const head = html('tr', {}, ...heads.map(text => html('th', { scope: 'col' }, text)));
    this.element.replaceChildren(html('table', {}, head, ...lines));
    this.element.hidden = false;
    const room = (this.element.parentElement?.clientWidth ?? 0) - this.element.offsetWidth;
    const left = x + BESIDE > room ? x - this.element.offsetWidth - BESIDE : x + BESIDE;
    this.element.style.left = `${Math.max(0, Math.min(room, left))}px`;
  }

  hide(): void {
    this.element.hidden = true;
  }
}

/** Tell how far across a drawing the pointer is: dragged there, `start` for the press, or passing by; null once it left. */
export function acrossDrawing(
  drawing: SVGSVGElement,
  dragged: (x: number, start: boolean) => void,
  passed: (x: number | null) => void,
  signal: AbortSignal
): void {
  let pointer: number | null = null;
  const across = (event: PointerEvent): number => event.clientX - drawing.getBoundingClientRect().left;
  const listen = { signal };
  drawing.addEventListener(
    'pointerdown',
    event => {
      if (event.button === 0 && event.isPrimary) {
        pointer = event.pointerId;
        drawing.setPointerCapture(event.pointerId);
        dragged(across(event), true);
      }
    },
    listen
  );
  drawing.addEventListener(
    'pointermove',
    event => {
      if (event.pointerId === pointer) {
        dragged(across(event), false);
      }
      passed(across(event));
    },
    listen
  );
  for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) {
    drawing.addEventListener(end, () => (pointer = null), listen);
  }
  drawing.addEventListener('pointerleave', () => passed(null), listen);
}
