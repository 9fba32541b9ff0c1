/** The tools of a plot, how much is picked, and what has to be known about how it is drawn. */

import { html, svg } from '../elements';
import type { Tool } from './hand';

const ICONS: Readonly<Record<string, string>> = {
  lasso:
    'M8 2.5c3.3 0 6 1.6 6 3.7s-2.7 3.7-6 3.7-6-1.6-6-3.7 2.7-3.7 6-3.7zM4.5 9.3c-.9.7-1 1.9.1 2.2 1 .3 1.4 1.2.4 2.3',
  box: 'M2.5 3.5h11v9h-11z',
  pan: 'M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2',
  in: 'M8 3v10M3 8h10',
  out: 'M3 8h10',
  fit: 'M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5'
};

const TOOLS: readonly [tool: Tool, title: string][] = [
  ['lasso', 'Lasso: draw around points to pick them (L)'],
  ['box', 'Box: drag a box over points to pick them (B)'],
  ['pan', 'Move the picture (P)']
];

export interface Tooled {
  choose(tool: Tool): void;
  zoom(factor: number): void;
  fit(): void;
}

export class Bar {
  readonly element = html('div', { class: 'nbi-plot-bar', role: 'toolbar', 'aria-label': 'Tools of the scatter plot' });

  private readonly buttons = new Map<Tool, HTMLButtonElement>();
  private readonly amount = html('span', { class: 'nbi-amount' });

  constructor(tooled: Tooled, signal: AbortSignal) {
    const button = (icon: string, title: string, pressed: () => void): HTMLButtonElement => {
      const drawing = svg(
        'svg',
        { viewBox: '0 0 16 16', 'aria-hidden': 'true' },
        svg('path', { d: ICONS[icon] ?? '' })
      );
      const made = html('button', { type: 'button', class: 'nbi-tool', title, 'aria-label': title }, drawing);
      made.addEventListener('click', pressed, { signal });
      return made;
    };
    for (const [tool, title] of TOOLS) {
      this.buttons.set(
        tool,
        button(tool, title, () => tooled.choose(tool))
      );
    }
    const views = [
      button('in', 'Come nearer (+)', () => tooled.zoom(1.4)),
      button('out', 'Go further away (−)', () => tooled.zoom(1 / 1.4)),
      button('fit', 'Show all points (0, or double click)', () => tooled.fit())
    ];
    this.element.append(
      html('span', { class: 'nbi-tools' }, ...this.buttons.values()),
      html('span', { class: 'nbi-tools' }, ...views),
      this.amount
    );
  }

  tool(chosen: Tool): void {
    for (const [tool, button] of this.buttons) {
      button.setAttribute('aria-pressed', String(tool === chosen));
    }
  }

  picked(count: number, n: number): void {
    const all = n.toLocaleString('en');
    this.amount.textContent = count === 0 ? `${all} points` : `${count.toLocaleString('en')} of ${all} picked`;
  }
}
