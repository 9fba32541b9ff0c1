/** Above the scatter: how the rows are laid out and coloured. */

import { NumberControl } from '../../lib/controls';
import { html } from '../../lib/elements';
import type { AtlasSpec, AtlasView, Column } from '../../lib/protocol';
import { afterQuiet } from '../../lib/timing';
import { Choice } from './choice';
import type { Hand } from './traits';

const COLUMNS = 'columns';
/** What layouts are called where people read it. */
export const NAMES: Readonly<Record<string, string>> = {
  pca: 'principal components',
  umap: 'UMAP',
  circular: 'circular coordinates',
  columns: 'two columns'
};

export class Toolbar {
  readonly element = html('div', { class: 'atlas-toolbar' });

  private readonly layout: Choice;
  private readonly x: Choice;
  private readonly y: Choice;
  private readonly colour: Choice;
  private readonly neighbours: NumberControl;
  private readonly distance: NumberControl;
  private readonly umap: HTMLElement;

  constructor(
    hand: Hand,
    private readonly still: boolean,
    signal: AbortSignal
  ) {
    this.layout = new Choice('layout', 'layout', layout => hand.view({ layout }), signal);
    this.x = new Choice('x', 'x axis', x => hand.view({ x }), signal);
    this.y = new Choice('y', 'y axis', y => hand.view({ y }), signal);
    this.colour = new Choice('colour', 'colour', color => hand.view({ color }), signal);
    // a fit takes seconds: it is asked for once the hand rests
    const change = afterQuiet(
      () => hand.view({ n_neighbors: Math.round(this.neighbours.value), min_dist: this.distance.value }),
      450,
      signal
    );
    const range = { unit: '', low: 2, high: 100, step: 1, home: 15, name: 'neighbours' };
    this.neighbours = new NumberControl(range, change, signal);
    this.distance = new NumberControl(
      { ...range, low: 0, high: 1, step: 0.05, home: 0.1, name: 'least distance' },
      change,
      signal
    );
    this.umap = html('div', { class: 'atlas-umap' }, this.neighbours.element, this.distance.element);
    this.element.append(this.layout.element, this.x.element, this.y.element, this.colour.element, this.umap);
  }

  update(spec: AtlasSpec, view: AtlasView, columns: readonly Column[], stored: string): void {
    // without Python there are the coordinates that were stored, and the columns
    const layouts = spec.layouts.filter(layout => !this.still || layout.name === stored || layout.name === COLUMNS);
    const options = layouts.map(({ name }) => ({ value: name, text: NAMES[name] ?? name }));
    this.layout.update(options, view.layout);
    const numbers = columns.filter(column => column.kind === 'number').map(({ name }) => ({ value: name, text: name }));
    this.x.update(numbers, view.x);
    this.y.update(numbers, view.y);
    this.x.element.hidden = this.y.element.hidden = view.layout !== COLUMNS;
    this.colour.update(
      columns.map(({ name }) => ({ value: name, text: name })),
      view.color
    );
    this.umap.hidden = this.still || !/umap/i.test(view.layout);
    this.neighbours.value = view.n_neighbors;
    this.distance.value = view.min_dist;
  }
}
