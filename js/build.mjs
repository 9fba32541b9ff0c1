// Bundle each widget into one ES module and one style sheet that anywidget sends to the page.
// `node build.mjs` builds all, `--only dial` one of them, `--watch` again after each change.
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import esbuild from 'esbuild';

const watch = process.argv.includes('--watch');
const only = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1] : null;
const outdir = '../nbinterp/static';
const widgets = (await readdir('src/widgets')).filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts'));

const options = {
  entryPoints: [...widgets.map(name => `src/widgets/${name}`), 'src/page.ts'].filter(
    name => only === null || path.basename(name, '.ts') === only
  ),
  // widgets lie in a folder of their own and the page beside it: the bundles all go to one place
  entryNames: '[name]',
  outdir,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: !watch,
  sourcemap: watch ? 'inline' : false,
  legalComments: 'none',
  metafile: true,
  // a picture carries the drawing's own style sheet as text
  loader: { '.figure.css': 'text' },
  logLevel: 'info'
};

/** The licences of all that is in the bundles: they ask to be passed on with it. */
async function licences(inputs) {
  const folders = new Set(
    Object.keys(inputs).flatMap(input => input.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? [])
  );
  const texts = await Promise.all(
    [...folders].sort().map(async folder => {
      const about = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
      const file = (await readdir(folder)).find(name => /^licen[cs]e/i.test(name));
      // a few packages of a family keep their licence in the repository only
      const text = file && existsSync(path.join(folder, file)) ? await readFile(path.join(folder, file), 'utf8') : '';
      return `${about.name} ${about.version}: ${about.license}\n\n${text.trim()}\n`;
    })
  );
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}

if (watch) {
  await (await esbuild.context(options)).watch();
} else {
  const { metafile } = await esbuild.build(options);
  if (only === null) {
    const built = new Set(Object.keys(metafile.outputs).map(name => path.basename(name)));
    const stale = (await readdir(outdir)).filter(name => !built.has(name));
    await Promise.all(stale.map(name => rm(path.join(outdir, name))));
    await writeFile(path.join(outdir, 'LICENSES.txt'), await licences(metafile.inputs));
  }
}
