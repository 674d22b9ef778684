// A Redis in which all instances count the quotas. Optional: without it each instance grants the whole quota.
param name string
param location string
param tags object
param sku string

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku }
  properties: {
    minimumTlsVersion: '1.2'
    publicNetworkAccess: 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    // One address for all shards: the app's client does not speak Redis Cluster.
    clusteringPolicy: 'EnterpriseCluster'
    // Every key that the app writes ends by itself, so that evicting those loses the oldest counts first.
    evictionPolicy: 'VolatileTTL'
    // QUOTA_STORAGE_URI takes a password and no Entra token.
    accessKeysAuthentication: 'Enabled'
  }
}

output name string = redis.name
