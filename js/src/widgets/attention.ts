/** Attention patterns: all heads in small, one of them large, and the tokens that it looks at. */

import type { RenderProps } from '@anywidget/types';
import { freshId, html } from '../lib/elements';
import { Grid } from '../lib/grid/grid';
import { inCell } from '../lib/grid/heat';
import { HeatLegend } from '../lib/grid/legend';
import { marksOf, nothingOf, picksOf, type Axes, type Picks } from '../lib/grid/picks';
import { keepKeys } from '../lib/keys';
import { lifeOf, onChange } from '../lib/life';
import { Offers } from '../lib/offers';
import { figure, type Pictured } from '../lib/picture';
import type { AttentionShown, Axis } from '../lib/protocol';
import { bytesOf, changeSelection, readSelection } from '../lib/selection';
import { isStill, keepState } from '../lib/still';
import { themeStyle } from '../lib/theme';
import { oncePerFrame, promptly } from '../lib/timing';
import { visible } from '../lib/tokens';
import './attention/attention.css';
import { Heads } from './attention/heads';
import { largeOf, type AttentionModel, type AttentionTraits } from './attention/moment';
import { mostOf, TokenStrip } from './attention/strip';

const TRAITS = ['spec', 'view', 'small', 'pattern', 'selection', 'offers', 'problem'] as const;
/** Bytes of patterns above which a notebook keeps a picture alone. */
const MOST_KEPT = 600_000;

function render({ model, el, signal }: RenderProps<AttentionTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbi-panel', 'nbinterp-attention');
  keepKeys(root, life.signal);
  // of other tokens everything is another: a Playground that is followed may get another prompt
  let drawn = new AbortController();
  let tokens: readonly string[] | null = null;
  const redraw = (): void => {
    const { tokens: now } = model.get('spec');
    if (tokens?.join('\0') !== now.join('\0')) {
      tokens = now;
      drawn.abort();
      drawn = new AbortController();
      draw(model, root, drawn.signal);
    }
  };
  onChange(model, ['spec'], redraw, life.signal);
  life.signal.addEventListener('abort', () => drawn.abort());
  redraw();
  return () => life.abort();
}

/** Draw the view of one prompt's tokens, until the signal ends it. */
function draw(model: AttentionModel, root: Pictured, signal: AbortSignal): void {
  const save = promptly(() => model.save_changes(), signal);
  const spec = model.get('spec');
  const change = (change: Partial<AttentionShown>): void => {
    model.set('view', { ...model.get('view'), ...change });
    save();
  };
  const places = spec.tokens.map((_, at) => at);
  const side = (name: string): Axis => ({ name, kind: 'tokens', labels: spec.tokens, places });
  const axes: Axes = { rows: side('query'), columns: side('key') };
  const n = spec.tokens.length;

  const heads = new Heads(
    model,
    {
      pick: (rect, add) => {
        const picked = picksOf(rect, heads.axes(), readSelection(model), add);
        changeSelection(model, picked);
        change({ layer: spec.layers[rect.r1] ?? 0, head: rect.c1 });
      },
      clear: () => {
        changeSelection(model, nothingOf(heads.axes()));
        save();
      }
    },
    signal
  );
  const legend = new HeatLegend(signal);
  const words = html('p', { class: 'nbi-attention-words', 'aria-live': 'polite' });
  /** Light the tokens that a query looks at, and say which. */
  const light = (query: number | null): void => {
    const large = largeOf(model);
    const weights = query === null || large === null ? null : large.values.subarray(query * n, (query + 1) * n);
    strip.light(query, weights, large?.heat ?? { kind: 'sequential', low: 0, high: 1 });
    words.textContent = query === null || weights === null ? '' : mostOf(spec.tokens, query, weights);
  };
  const inPattern = (picked: Partial<Picks>, queries: number[], keys: number[]): void => {
    changeSelection(model, picked);
    change({ queries, keys });
  };
  const pattern = new Grid(
    {
      describe: ({ row, column }) => {
        const value = largeOf(model)?.values[row * n + column] ?? NaN;
        const token = (at: number): string => `${at} “${visible((spec.tokens[at] ?? '').slice(0, 60))}”`;
        const number = Number.isNaN(value) ? 'cannot look there' : String(Number(value.toPrecision(3)));
        return [`query ${token(row)}`, `key ${token(column)}`, `${model.get('view').measure}: ${number}`];
      },
      pick: (rect, add) => {
        // beside each other the edges of two rectangles are no rectangle
        const [queries, keys] = add
          ? [[], []]
          : [places.slice(rect.r0, rect.r1 + 1), places.slice(rect.c0, rect.c1 + 1)];
        inPattern(picksOf(rect, axes, readSelection(model), add), queries, keys);
      },
      clear: () => inPattern(nothingOf(axes), [], []),
      hover: cell => {
        light(cell === null ? null : cell.row);
        legend.mark(cell === null ? NaN : (largeOf(model)?.values[cell.row * n + cell.column] ?? NaN));
      }
    },
    { name: 'Pattern', square: true, height: 440 },
    signal
  );
  const strip = new TokenStrip(
    spec.tokens,
    light,
    (token, add) => {
      const before = readSelection(model).tokens;
      const again = before.includes(token);
      const tokens = add
        ? again
          ? before.filter(one => one !== token)
          : [...before, token]
        : again && before.length === 1
          ? []
          : [token];
      changeSelection(model, { tokens: [...tokens].sort((a, b) => a - b) });
      save();
    },
    signal
  );

  const measureId = freshId('measure');
  const measures = html('select', { id: measureId, class: 'nbi-field' });
  measures.addEventListener('change', () => change({ measure: measures.value }), { signal: signal });
  const choice = html('div', { class: 'nbi-choice' }, html('label', { for: measureId }, 'shows'), measures);
  const offers = new Offers(model, signal);
  const title = html('h3', { class: 'nbi-title' }, visible(spec.title.slice(0, 300)));
  const name = html('h4', { class: 'nbi-attention-name' });
  const note = html('p', { class: 'nbi-note' }, spec.note === '' ? '' : visible(spec.note));
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  root.replaceChildren(
    themeStyle(root, signal),
    html('div', { class: 'nbi-header' }, title, choice),
    html(
      'div',
      { class: 'nbi-attention-middle' },
      html('section', { class: 'nbi-attention-heads' }, html('h4', {}, 'All heads'), heads.grid.element),
      html(
        'section',
        { class: 'nbi-attention-large' },
        html('div', { class: 'nbi-under' }, name, legend.element, pattern.tools),
        pattern.element,
        strip.element,
        words,
        offers.element
      )
    ),
    note,
    problem
  );

  let small: unknown = null;
  let shown: Float32Array | null = null;
  let listed: readonly string[] | null = null;
  const redraw = (): void => {
    const view = model.get('view');
    if (model.get('small') !== small) {
      small = model.get('small');
      heads.forget();
    }
    const { measures: known } = model.get('spec');
    if (known !== listed) {
      listed = known;
      measures.replaceChildren(...known.map(one => html('option', { value: one }, visible(one))));
      // what was not stored cannot be shown without Python
      choice.hidden = known.length < 2 || isStill(model);
    }
    offers.update();
    const large = largeOf(model);
    name.textContent = `Head ${view.layer}.${view.head}`;
    measures.value = view.measure;
    if (large !== null && large.values !== shown) {
      shown = large.values;
      const { values, heat } = large;
      pattern.show({ ...axes, values, heat, text: (row, column) => inCell(values[row * n + column] ?? NaN, heat) });
      legend.show(heat, visible(view.measure), '');
    }
    const selection = readSelection(model);
    pattern.mark(marksOf({ ...selection, layers: [], heads: [] }, axes));
    // the head that is shown large is always marked
    const pairs = selection.heads.length > 0 ? selection.heads : [[view.layer, view.head] as const];
    heads.grid.mark(marksOf({ ...selection, heads: pairs }, heads.axes()));
    strip.mark(selection.tokens);
    const trouble = model.get('problem') === '' ? '' : visible(model.get('problem').slice(0, 1200));
    if (problem.textContent !== trouble) {
      problem.textContent = trouble;
    }
    Object.assign(root.dataset, {
      head: `${view.layer}.${view.head}`,
      measure: view.measure,
      coarse: String(large?.coarse ?? true)
    });
  };
  const redrawSoon = oncePerFrame(redraw, signal);
  onChange(model, TRAITS, redrawSoon, signal);
  redraw();
  if (bytesOf(model.get('small').values).byteLength + bytesOf(model.get('pattern').values).byteLength < MOST_KEPT) {
    keepState(root, model, TRAITS, ['view', 'selection']);
  }
  root.nbinterpPicture = () => {
    redraw();
    const address = pattern.picture();
    return address === null ? null : figure(address, `${title.textContent}, head ${root.dataset.head ?? ''}.`, null);
  };
}

export default { render };
