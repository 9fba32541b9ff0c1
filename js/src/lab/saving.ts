/** Before a notebook is saved, its outputs get the pictures of what they show now. */

import type { YCodeCell } from '@jupyter/ydoc';
import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { PartialJSONObject } from '@lumino/coreutils';
import { replacePicture } from '../lib/picture';
import { HTML, joined, OURS, ourModelId, type Kept } from './ours';
import type { Views } from './views';

export function keepPictures(panel: NotebookPanel, views: Views): void {
  panel.context.saveState.connect((_, state) => {
    if (state === 'started') {
      try {
        refresh(panel, views.pictures(), views.states());
      } catch (error) {
        // a picture is not worth a notebook that cannot be saved
        console.warn('nbinterp: the pictures could not be refreshed', error);
      }
    }
  });
}

/**
 * JupyterLab writes the shared document to the file, and a "silent change" of it is not sent back to the output
 * area: the live widget is neither drawn anew nor does it lose the focus.
 */
function refresh(panel: NotebookPanel, pictures: ReadonlyMap<string, string>, states: ReadonlyMap<string, Kept>): void {
  for (const cell of panel.content.model?.cells ?? []) {
    if (cell.type === 'code') {
      const sharedModel = (cell as ICodeCellModel).sharedModel as YCodeCell;
      sharedModel.getOutputs().forEach((output, index) => {
        const changed = refreshed(output, pictures, states);
        if (changed !== null) {
          sharedModel.updateOutputs(index, index + 1, [changed], 'silent-change');
        }
      });
    }
  }
}

function refreshed(
  output: IOutput,
  pictures: ReadonlyMap<string, string>,
  states: ReadonlyMap<string, Kept>
): IOutput | null {
  const data = output.data as PartialJSONObject | undefined;
  const id = ourModelId(data);
  if (data === undefined || id === null) {
    return null;
  }
  const picture = pictures.get(id);
  const kept = states.get(id);
  const html = joined(data[HTML]);
  const after = {
    ...data,
    ...(picture === undefined ? {} : { [HTML]: replacePicture(html, picture) }),
    ...(kept === undefined ? {} : { [OURS]: { ...kept } as unknown as PartialJSONObject })
  };
  const same = joined(after[HTML]) === html && JSON.stringify(after[OURS]) === JSON.stringify(data[OURS]);
  return same ? null : { ...output, data: after };
}
