// For `make lint`. How the code is laid out is prettier's matter (package.json).
import js from '@eslint/js';
import globals from 'globals';

export default [
  js.configs.recommended,
  {
    files: ['_jobqueue/web/static/*.js'],
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      curly: 'error',
      eqeqeq: 'error',
      'max-depth': ['error', 3],
      'max-lines': ['error', 500],
      'max-params': ['error', 5],
      'no-else-return': 'error',
      'no-multi-assign': 'error',
      'no-nested-ternary': 'error',
      'no-sequences': 'error',
      'no-unused-vars': 'error',
      'no-var': 'error',
      'one-var': ['error', 'never'],
      'prefer-const': 'error',
    },
  },
];
