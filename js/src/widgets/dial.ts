/** The Dial: turn a token along a circle of the model's own making, and watch the model answer. */

import type { RenderProps } from '@anywidget/types';
import { degrees, normalise } from '../lib/angles';
import { html } from '../lib/elements';
import { keepKeys } from '../lib/keys';
import { lifeOf, onChange } from '../lib/life';
import type { Pictured } from '../lib/picture';
import { isStill, keepState } from '../lib/still';
import { themeStyle } from '../lib/theme';
import { oncePerFrame, promptly, slowLight } from '../lib/timing';
import { Answers, topOf } from './dial/answers';
import './dial/dial.css';
import { Face, type Hand } from './dial/face';
import { Header } from './dial/header';
import { readMoment, type DialTraits } from './dial/moment';
import { dialPicture, SHEET } from './dial/picture';
import { readable } from './dial/readout';
import { Response } from './dial/response';
import { answerFrom } from './dial/still';

const TRAITS = ['spec', 'angle', 'layer', 'token', 'answer', 'sweep', 'problem'] as const;
const PATIENCE = 150;

function render({ model, el, signal }: RenderProps<DialTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbinterp-dial');

  keepKeys(root, life.signal);
  const still = isStill(model);
  const save = promptly(() => model.save_changes(), life.signal);
  const change = <K extends 'angle' | 'layer' | 'token'>(name: K, value: DialTraits[K]): void => {
    if (model.get(name) !== value) {
      model.set(name, value);
      save();
    }
    const { sweep } = readMoment(model);
    if (still && sweep !== null) {
      model.set('answer', answerFrom(sweep, model.get('angle')));
    }
  };
  const hand: Hand = {
    to: angle => change('angle', normalise(angle)),
    home: () => {
      const { start } = readMoment(model);
      if (start !== null) {
        change('angle', normalise(start));
      }
    }
  };

  const header = new Header({ token: index => change('token', index), layer: n => change('layer', n) }, life.signal);
  // only the swept token's numbers are stored
  header.element.inert = still;
  const face = new Face(hand, () => readMoment(model), life.signal);
  const answers = new Answers(life.signal);
  const response = new Response();
  const box = readable(response, () => readMoment(model), hand, life.signal);
  const key = html('p', { class: 'nbi-key' }, '◇ where the token is   ● where each label truly lies');
  const milliseconds = html('span', { class: 'nbi-milliseconds' });
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  root.replaceChildren(
    themeStyle(root, life.signal, SHEET),
    header.element,
    html('div', { class: 'nbi-middle' }, html('div', { class: 'nbi-face-box' }, face.element, key), answers.element),
    box,
    html('footer', { class: 'nbi-footer' }, milliseconds, problem)
  );

  let waiting = false;
  const redraw = (): void => {
    const moment = readMoment(model);
    header.update(moment);
    face.update(moment);
    answers.update(moment);
    response.update(moment);
    // an alert is only read aloud when its text changes
    if (problem.textContent !== moment.problem) {
      problem.textContent = moment.problem;
    }
    root.classList.toggle('nbi-troubled', moment.problem !== '');
    const seconds = moment.answer === null ? '' : `answered in ${Math.round(moment.answer.milliseconds)} ms`;
    milliseconds.textContent = still ? 'no kernel: the stored sweep answers' : waiting ? 'asking the model…' : seconds;
    root.dataset.angleDegrees = String(degrees(moment.angle));
    root.dataset.topBase = topOf(moment.answer, 'base')?.text ?? '';
    root.dataset.topTurned = topOf(moment.answer, 'turned')?.text ?? '';
    root.dataset.topControl = topOf(moment.answer, 'control')?.text ?? '';
    root.dataset.working = String(moment.working);
    root.dataset.sweepDone = String(moment.sweepDone);
    light(moment.working);
  };
  const light = slowLight(
    on => {
      if (on !== waiting) {
        waiting = on;
        root.classList.toggle('nbi-waiting', on);
        root.setAttribute('aria-busy', String(on));
        redraw();
      }
    },
    PATIENCE,
    life.signal
  );
  const redrawSoon = oncePerFrame(redraw, life.signal);

  onChange(model, TRAITS, redrawSoon, life.signal);
  const size = new ResizeObserver(() => response.resize(box.clientWidth, readMoment(model)));
  size.observe(box);
  life.signal.addEventListener('abort', () => size.disconnect());
  keepState(root, model, TRAITS, ['layer', 'token', 'angle']);
  root.nbinterpPicture = () => {
    // what was set in this very frame belongs into the picture
    redraw();
    return dialPicture(readMoment(model), face, answers, response);
  };
  redraw();
  return () => life.abort();
}

export default { render };
