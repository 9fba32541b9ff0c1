/** Before a notebook is saved, its outputs get the pictures of what they show now. */

import type { YCodeCell } from '@jupyter/ydoc';
import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { PartialJSONObject } from '@lumino/coreutils';
import { replacePicture } from '../lib/picture';
import { HTML, joined, ourModelId } from './ours';
import type { Views } from './views';

export function keepPictures(panel: NotebookPanel, views: Views): void {
  panel.context.saveState.connect((_, state) => {
    if (state === 'started') {
      try {
        refresh(panel, views.pictures());
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
function refresh(panel: NotebookPanel, pictures: ReadonlyMap<string, string>): void {
  for (const cell of panel.content.model?.cells ?? []) {
    if (cell.type === 'code') {
      const sharedModel = (cell as ICodeCellModel).sharedModel as YCodeCell;
      sharedModel.getOutputs().forEach((output, index) => {
        const changed = refreshed(output, pictures);
        if (changed !== null) {
          sharedModel.updateOutputs(index, index + 1, [changed], 'silent-change');
        }
      });
    }
  }
}

function refreshed(output: IOutput, pictures: ReadonlyMap<string, string>): IOutput | null {
  const data = output.data as PartialJSONObject | undefined;
  const picture = pictures.get(ourModelId(data) ?? '');
  if (data === undefined || picture === undefined) {
    return null;
  }
  const before = joined(data[HTML]);
  const after = replacePicture(before, picture);
  return after === before ? null : { ...output, data: { ...data, [HTML]: after } };
}
