/** A grid of layers or heads over tokens: what a lens reads, or what patching restores, shared by selection. */

import type { RenderProps } from '@anywidget/types';
import { freshId, html } from '../lib/elements';
import { Grid } from '../lib/grid/grid';
import { HeatLegend } from '../lib/grid/legend';
import { marksOf, nothingOf, picksOf, type Axes } from '../lib/grid/picks';
import { keepKeys } from '../lib/keys';
import { lifeOf, onChange } from '../lib/life';
import { Offers } from '../lib/offers';
import { figure, type Pictured } from '../lib/picture';
import { Progress } from '../lib/progress';
import type { Axis } from '../lib/protocol';
import { changeSelection, readSelection } from '../lib/selection';
import { isStill, keepState } from '../lib/still';
import { themeStyle } from '../lib/theme';
import { oncePerFrame, promptly } from '../lib/timing';
import { visible } from '../lib/tokens';
import './grid/grid.css';
import { factsOf, RUN_NAMES, runsOf, shownOf, type GridTraits, type Run } from './grid/moment';

const TRAITS = ['spec', 'view', 'base', 'changed', 'selection', 'offers', 'task', 'problem'] as const;
/** Bytes of cells above which a notebook keeps a picture alone. */
const MOST_KEPT = 250_000;
/** Width of a cell that can be read. */
const READABLE = 52;

function render({ model, el, signal }: RenderProps<GridTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbi-panel', 'nbinterp-grid');
  root.tabIndex = -1;
  keepKeys(root, life.signal);

  const save = promptly(() => model.save_changes(), life.signal);
  const axes = (): Axes => model.get('spec');
  const change = (change: Partial<GridTraits['view']>): void => {
    model.set('view', { ...model.get('view'), ...change });
    save();
  };
  const title = html('h3', { class: 'nbi-title' });
  const [quantityId, runName] = [freshId('quantity'), freshId('run')];
  const quantities = html('select', { id: quantityId, class: 'nbi-field' });
  const quantity = html('div', { class: 'nbi-choice' }, html('label', { for: quantityId }, 'shows'), quantities);
  const runs = html('div', { class: 'nbi-runs', role: 'radiogroup', 'aria-label': 'Run' });
  const buttons = new Map<Run, HTMLInputElement>();
  for (const run of Object.keys(RUN_NAMES) as Run[]) {
    const input = html('input', { type: 'radio', name: runName, value: run });
    input.addEventListener('change', () => change({ run }), { signal: life.signal });
    buttons.set(run, input);
    runs.append(html('label', {}, input, html('span', {}, RUN_NAMES[run])));
  }
  const legend = new HeatLegend(life.signal);
  const name = visible(model.get('spec').title) || 'Grid';
  const grid = new Grid(
    {
      describe: ({ row, column }) => [
        `${placeName(axes().rows, row)}, ${placeName(axes().columns, column)}`,
        ...factsOf(model, row * axes().columns.labels.length + column)
      ],
      pick: (rect, add) => {
        changeSelection(model, picksOf(rect, axes(), readSelection(model), add));
        save();
      },
      clear: () => {
        changeSelection(model, nothingOf(axes()));
        save();
      },
      hover: cell => {
        const shown = shownOf(model);
        const at = cell === null ? NaN : cell.row * axes().columns.labels.length + cell.column;
        legend.mark(shown?.values[at] ?? NaN);
      }
    },
    { name, wanted: model.get('spec').quantities.some(one => one.words) ? READABLE : 0 },
    life.signal
  );
  const progress = new Progress(() => undefined, life.signal);
  const offers = new Offers(model, life.signal);
  const picked = html('p', { class: 'nbi-grid-picked', 'aria-live': 'polite' });
  const note = html('p', { class: 'nbi-note' });
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  root.replaceChildren(
    themeStyle(root, life.signal),
    html('div', { class: 'nbi-header' }, title, quantity, runs),
    html('div', { class: 'nbi-under' }, legend.element, progress.element, grid.tools),
    grid.element,
    picked,
    offers.element,
    note,
    problem
  );
  quantities.addEventListener('change', () => change({ quantity: quantities.value }), { signal: life.signal });

  let spec: GridTraits['spec'] | null = null;
  const redraw = (): void => {
    const now = model.get('spec');
    const shown = shownOf(model);
    if (now !== spec) {
      spec = now;
      title.textContent = visible(now.title.slice(0, 300));
      note.textContent = now.note === '' ? '' : visible(now.note);
      quantity.hidden = now.quantities.length < 2;
      quantities.replaceChildren(...now.quantities.map(one => html('option', { value: one.id }, visible(one.name))));
    }
    if (shown !== null) {
      const n = now.columns.labels.length;
      const { values, heat, text } = shown;
      grid.show({ rows: now.rows, columns: now.columns, values, heat, text: (row, column) => text(row * n + column) });
      const what = shown.run === 'difference' ? `difference of ${shown.quantity.name}` : shown.quantity.name;
      legend.show(heat, visible(what), shown.quantity.unit);
      quantities.value = shown.quantity.id;
      const known = runsOf(model, shown.quantity.id);
      runs.hidden = known.length < 2;
      for (const [run, input] of buttons) {
        input.checked = run === shown.run;
      }
      Object.assign(root.dataset, { quantity: shown.quantity.id, run: shown.run });
    }
    const selection = readSelection(model);
    const marks = marksOf(selection, now);
    grid.mark(marks);
    const words = pickedWords(now, selection);
    if (picked.textContent !== words) {
      picked.textContent = words;
    }
    offers.update();
    progress.update(model.get('task'));
    const trouble = model.get('problem') === '' ? '' : visible(model.get('problem').slice(0, 1200));
    if (problem.textContent !== trouble) {
      problem.textContent = trouble;
    }
    root.dataset.marks = String(marks.length);
    root.dataset.still = String(isStill(model));
  };
  const redrawSoon = oncePerFrame(redraw, life.signal);
  onChange(model, TRAITS, redrawSoon, life.signal);
  redraw();
  const weight = [...model.get('base'), ...model.get('changed')].reduce(
    (sum, cells) => sum + cells.values.byteLength + cells.codes.byteLength,
    0
  );
  if (weight < MOST_KEPT) {
    keepState(root, model, TRAITS, ['view', 'selection']);
  }
  root.nbinterpPicture = () => {
    redraw();
    const address = grid.picture();
    const said = shownOf(model);
    const words = said === null ? '' : `, ${said.quantity.name}${said.run === 'base' ? '' : `, ${said.run}`}`;
    return address === null
      ? null
      : figure(address, `${visible(model.get('spec').title.slice(0, 300))}${words}.`, null);
  };
  return () => life.abort();
}

/** "layer 12" or "token 3 “·France”". */
function placeName(axis: Axis, at: number): string {
  const label = visible((axis.labels[at] ?? '').slice(0, 60));
  return axis.kind === 'tokens' ? `${axis.name} ${axis.places[at] ?? at} “${label}”` : `${axis.name} ${label}`;
}

/** What is picked of what this grid shows, in words. */
function pickedWords(axes: Axes, { tokens, layers, heads }: ReturnType<typeof readSelection>): string {
  const some = (all: readonly unknown[], word: string, text: string): string[] =>
    all.length === 0 ? [] : [all.length === 1 ? `${word} ${text}` : `${all.length} ${word}s`];
  const { kind, labels, places } = axes.columns;
  const label = kind === 'tokens' ? (labels[places.indexOf(tokens[0] ?? -1)] ?? '') : '';
  const token = `${tokens[0] ?? ''}${label === '' ? '' : ` “${visible(label.slice(0, 40))}”`}`;
  const parts = [
    ...some(layers, 'layer', String(layers[0])),
    ...some(heads, 'head', heads[0]?.join('.') ?? ''),
    ...some(tokens, 'token', token)
  ];
  return parts.length === 0
    ? 'Click a cell, or drag over some, to pick where something happens.'
    : `Picked: ${parts.join(', ')}.`;
}

export default { render };
