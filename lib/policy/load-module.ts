/**
 * Loads a package that may be ESM-only, when it is first needed.
 *
 * The CommonJS build has `require` in place of `import()`; it reads ESM since Node 20.19, but jest's, which stands in its
 * place there, does not. Then Node's own loader is asked.
 *
 * @param importIt `() => import(name)`, written out by the caller, so that bundlers see it
 */
export async function loadModule<Module>(name: string, importIt: () => Promise<Module>): Promise<Module> {
  try {
    return await importIt()
  } catch (error) {
    if (typeof __filename !== 'string' || (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') throw error
    const vm = process.getBuiltinModule('node:vm')
    const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
    const load = vm.compileFunction('return import(name)', ['name'], { filename: __filename, importModuleDynamically }) as (name: string) => Promise<Module>
    return load(name)
  }
}
