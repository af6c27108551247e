/** A variable of the environment: an own one, since what is on `Object.prototype` shines through `process.env`. */
export function readVariable(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  return Object.hasOwn(env, name) ? env[name] : undefined
}
