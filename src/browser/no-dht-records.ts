/**
 * Stands in for the parts of kad-dht that keep and look for values and providers: nodes use it to find peers, and answer
 * nothing else (src/dht/libp2p-services.ts).
 */

class Unused {}

export {
  Unused as AddProviderHandler,
  Unused as ContentFetching,
  Unused as ContentRouting,
  Unused as GetProvidersHandler,
  Unused as GetValueHandler,
  Unused as Providers,
  Unused as PutValueHandler,
  Unused as Reprovider,
}
