import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Folders that a folder must not import from: lab → widgets → lib. */
function never(...folders) {
  return {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          { group: folders.map(folder => `**/${folder}/**`), message: 'Imports go one way: lab, widgets, lib.' }
        ]
      }
    ]
  };
}

export default tseslint.config(
  { ignores: ['lib/', 'node_modules/', 'src/lib/protocol.ts'] },
  js.configs.recommended,
  {
    files: ['src/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      eqeqeq: 'error'
    }
  },
  { files: ['src/lib/**'], rules: never('widgets', 'lab') },
  { files: ['src/widgets/**'], rules: never('lab') },
  { files: ['src/**/*.test.ts'], rules: { '@typescript-eslint/no-non-null-assertion': 'off' } },
  { files: ['*.mjs', '*.js'], languageOptions: { globals: { process: 'readonly' } } },
  { files: ['*.cjs'], languageOptions: { globals: { module: 'writable' } } }
);
