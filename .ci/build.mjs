// Builds lib/ into dist/: `modules/` has each file on its own, for tests and benchmarks, and is not published; `esm/` and `cjs/`
// are package.json's "exports", with their declarations.
//
// Only what knows axios is there twice, since axios is. All else is there once, as CommonJS in a few files (Node's loader takes
// a tenth of a millisecond and more for each): `cjs/core.js`, and what an option or a call asks for, which is loaded then. So both
// module systems have the same classes, and `esm/index.js` names what it takes of them in `esm/core.cjs`.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { chmodSync, cpSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { rollup } from 'rollup'

const tsc = createRequire(import.meta.url).resolve('typescript/lib/tsc.js')
const compile = (/** @type {string} */ project) => execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' })

console.error('building dist/ …')
rmSync('dist', { recursive: true, force: true })
compile('tsconfig.build.json')
compile('tsconfig.cjs.json')
for (const kind of ['esm', 'cjs']) cpSync(`dist/modules/${kind}`, `dist/${kind}`, { recursive: true, filter: (path) => statSync(path).isDirectory() || /\.d\.c?ts$/.test(path) })
for (const folder of ['dist/modules/cjs', 'dist/cjs']) writeFileSync(`${folder}/package.json`, '{"type":"commonjs"}\n')

const modules = resolve('dist/modules/esm')
const nameOf = (/** @type {string} */ id) => relative(modules, id).replace(/\.js$/, '')
const isPackage = (/** @type {string} */ id) => !/^[./\0]/.test(id)
const knowsAxios = (/** @type {string} */ id) => /^(?:index$|axios\/)/.test(nameOf(id))
// A file of ASCII alone is read in half the time.
const ascii = { name: 'ascii', renderChunk: (/** @type {string} */ code) => code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) }

/**
 * @param {Record<string, string>} input by name
 * @param {import('rollup').RollupOptions} options
 * @param {import('rollup').OutputOptions} output
 */
async function bundle(input, { plugins = [], ...options }, output) {
  const bundled = await rollup({ input, treeshake: { moduleSideEffects: false }, plugins: [plugins, ascii], ...options })
  await bundled.write({ chunkFileNames: '[name].js', ...output })
  await bundled.close()
}

// What knows axios, as ESM. Its imports from the rest of the package become imports from one file, and are what that has to export.
/** @type {Map<string, Set<string>>} */
const taken = new Map()
const note = {
  name: 'note',
  /** @param {string} code @param {string} id @this {import('rollup').PluginContext} */
  transform(code, id) {
    for (const statement of this.parse(code).body) {
      if (statement.type !== 'ImportDeclaration' && statement.type !== 'ExportNamedDeclaration') continue
      const from = statement.source?.value
      if (typeof from !== 'string' || isPackage(from) || knowsAxios(resolve(id, '..', from))) continue
      const names = taken.get(resolve(id, '..', from)) ?? new Set()
      taken.set(resolve(id, '..', from), names)
      for (const each of statement.specifiers) names.add(String(Reflect.get(each.type === 'ImportSpecifier' ? each.imported : each.local, 'name')))
    }
  }
}
await bundle({ index: `${modules}/index.js` }, { external: (id, _importer, resolved) => isPackage(id) || (resolved && !knowsAxios(id)), plugins: [note] }, { dir: 'dist/esm', format: 'esm', paths: (id) => (isPackage(id) ? id : './core.cjs') })
const names = [...new Set([...taken.values()].flatMap((each) => [...each]))].sort()
writeFileSync('dist/esm/core.cjs', `'use strict'\n\nconst core = require('../cjs/core.js')\n\n${names.map((name) => `exports.${name} = core.${name}\n`).join('')}`)
await bundle({ index: `${modules}/testing/index.js` }, { external: isPackage }, { dir: 'dist/esm/testing', format: 'esm' })

/** @type {import('rollup').Plugin} */
const parts = {
  name: 'parts',
  resolveId: (id) => (id === '\0core' ? id : undefined),
  load(id) {
    if (id === '\0core') return [...taken].map(([from, each]) => `export { ${[...each].join(', ')} } from ${JSON.stringify(from)}\n`).join('')
    // CommonJS already, in the same folder as the core: so it can be a part of that.
    if (id === `${modules}/late.cjs`) return readFileSync(id, 'utf8').replace(/^(?:'use strict'|"use strict"|Object\.defineProperty\(exports|exports\.).*\n/gm, '').replace(/^function /gm, 'export function ')
    return undefined
  },
  resolveImportMeta: () => "require('node:url').pathToFileURL(__filename).href"
}
// Each stays one file, whatever else uses parts of it.
const late = ['formats/pins-file', 'report/telemetry', 'report/report-queue', 'transport/report-delivery', 'transport/dispatcher', 'update/parts']
const input = { core: '\0core', ...Object.fromEntries(['index', 'testing/index', 'cli/main', ...late].map((name) => [name, `${modules}/${name}.js`])) }
/** @type {Map<string, string> | undefined} */
let homes
/** @param {string} id @param {import('rollup').ManualChunkMeta} graph */
function homeOf(id, { getModuleInfo }) {
  homes ??= new Map()
  const settle = (/** @type {string} */ each, /** @type {string} */ home) => {
    if (homes?.has(each) || getModuleInfo(each)?.isExternal) return
    homes?.set(each, home)
    for (const imported of getModuleInfo(each)?.importedIds ?? []) settle(imported, home)
  }
  if (homes.size === 0) for (const name of ['core', ...late]) settle(name === 'core' ? '\0core' : `${modules}/${name}.js`, name)
  return homes.get(id)
}
await bundle(input, { external: isPackage, plugins: [parts], preserveEntrySignatures: 'allow-extension' }, { dir: 'dist/cjs', format: 'cjs', interop: (id) => (id?.startsWith('node:') ? 'esModule' : 'auto'), esModule: true, exports: 'named', hoistTransitiveImports: false, manualChunks: homeOf, minifyInternalExports: false })
chmodSync('dist/cjs/cli/main.js', 0o755)
