/** A scatter plot of a table's rows that shares what is picked with other widgets and with Python. */

import { lifeOf, onChange } from '../lib/life';
import type { RenderProps } from '@anywidget/types';
import { Asking } from '../lib/asking';
import { freshId, html } from '../lib/elements';
import { keepKeys } from '../lib/keys';
import { figure, type Pictured } from '../lib/picture';
import type { Column, RowsReply, ScatterPoints, ScatterSpec } from '../lib/protocol';
import { Legend, Scatter } from '../lib/scatter/scatter';
import { bytesOf, changeSelection, count, readSelection, type SelectionTraits } from '../lib/selection';
import { isStill, keepState } from '../lib/still';
import { themeStyle } from '../lib/theme';
import { promptly } from '../lib/timing';
import { visible } from '../lib/tokens';
import './scatter/scatter.css';

export interface ScatterTraits extends SelectionTraits {
  spec: ScatterSpec;
  points: ScatterPoints;
  columns: Column[];
  color: string;
  problem: string;
}

/** Bytes of points and columns above which a notebook keeps a picture alone. */
const MOST_KEPT = 250_000;

function render({ model, el, signal }: RenderProps<ScatterTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbi-panel', 'nbinterp-scatter');

  keepKeys(root, life.signal);
  const spec = model.get('spec');
  const asking = new Asking(model, life.signal);
  const save = promptly(() => model.save_changes(), life.signal);
  const pick = (rows: Uint8Array): void => {
    changeSelection(model, { rows });
    save();
  };
  const describe = async (row: number): Promise<string[]> => {
    const reply = await asking.ask<RowsReply>('rows', { rows: [row] });
    const cells = reply.facts[0]?.cells ?? [];
    return [`row ${row}`, ...reply.columns.map((name, at) => `${name}: ${cells[at] ?? ''}`)];
  };
  const plot = new Scatter(
    spec.n,
    { pick, hover: () => undefined, describe: row => (isStill(model) ? [`row ${row}`] : describe(row)) },
    life.signal
  );
  const legend = new Legend(pick, life.signal);

  const title = html('h3', { class: 'nbi-title' }, spec.title === '' ? '' : visible(spec.title));
  const name = freshId('colour');
  const colours = html('select', { id: name });
  const choice = html('div', { class: 'nbi-choice' }, html('label', { for: name }, 'colour'), colours);
  const note = html('p', { class: 'nbi-note' }, spec.note === '' ? '' : visible(spec.note));
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  root.replaceChildren(
    themeStyle(root, life.signal),
    html('div', { class: 'nbi-header' }, title, choice),
    html('div', { class: 'nbi-middle' }, plot.element, legend.element),
    note,
    problem
  );

  const columnOf = (): Column | null => model.get('columns').find(column => column.name === model.get('color')) ?? null;
  const recolour = (): void => {
    plot.colour(columnOf());
    // a page without a kernel has the columns that were sent to it
    const known = model.get('columns').map(column => column.name);
    const names = ['', ...(isStill(model) ? known : model.get('spec').choices)];
    choice.hidden = names.length < 2;
    colours.replaceChildren(
      ...names.map(each => html('option', { value: each }, each === '' ? 'none' : visible(each)))
    );
    colours.value = model.get('color');
    reselect();
  };
  const reselect = (): void => {
    const { rows } = readSelection(model);
    plot.select(rows);
    legend.update(columnOf(), rows);
    root.dataset.picked = String(count(rows));
  };
  const replace = (): void => {
    // a message's buffers begin anywhere
    plot.place(new Float32Array(bytesOf(model.get('points').xy).slice().buffer));
    plot.axes(model.get('spec').x, model.get('spec').y);
  };
  const trouble = (): void => void (problem.textContent = model.get('problem'));
  colours.addEventListener(
    'change',
    () => {
      model.set('color', colours.value);
      model.save_changes();
    },
    { signal: life.signal }
  );

  const on = (trait: keyof ScatterTraits, changed: () => void): void => onChange(model, [trait], changed, life.signal);
  on('points', replace);
  on('columns', recolour);
  on('color', recolour);
  on('selection', reselect);
  on('problem', trouble);
  replace();
  recolour();
  trouble();
  if (weight(model) < MOST_KEPT) {
    keepState(root, model, ['spec', 'points', 'columns', 'color', 'selection', 'problem'], ['color', 'selection']);
  }
  root.nbinterpPicture = () => {
    const address = plot.picture();
    return address === null
      ? null
      : figure(address, describePicture(model.get('spec'), root.dataset.picked ?? '0'), null);
  };
  return () => life.abort();
}

function weight(model: { get(name: 'points'): ScatterPoints; get(name: 'columns'): Column[] }): number {
  const columns = model.get('columns').map(column => bytesOf(column.values).byteLength);
  return columns.reduce((sum, bytes) => sum + bytes, bytesOf(model.get('points').xy).byteLength);
}

function describePicture({ n, x, y, title }: ScatterSpec, picked: string): string {
  const named = title === '' ? '' : `${visible(title)}: `;
  const some = picked === '0' ? '' : `, ${Number(picked).toLocaleString('en')} of them picked`;
  return `${named}scatter of ${n.toLocaleString('en')} points, ${visible(x)} across and ${visible(y)} up${some}.`;
}

export default { render };
